// Node's own server: takes a note of the id that each POST brings, and closes idle connections after a second.
// server.js PORT

const { appendFileSync } = require("node:fs");
const { createServer } = require("node:http");

const server = createServer(async (request, response) => {
  let body = "";
  for await (const part of request) body += part;
  if (request.method === "POST") appendFileSync(process.env.NOTES, body + "\n");
  response.setHeader("Content-Length", 2);
  response.end("ok");
});
server.keepAliveTimeout = 1000;
server.listen(Number(process.argv[2]), "127.0.0.1");
