//! Where visitors connect: listeners, TLS, and what bounds them.

use super::super::*;
use super::{faults, file, good, one_fault, one_warning};
use crate::model::Period;

/// Files that are there.
const CERTIFICATES: &str = "certificates = [{ chain = '/etc/passwd', key = '/etc/hosts' }]\n";

fn listener(address: &str, proxy_protocol: bool) -> Listener {
    Listener { address: address.parse().unwrap(), proxy_protocol }
}

fn tls(keys: &str) -> String {
    format!("[server.tls]\n{CERTIFICATES}{keys}\n")
}

#[test]
fn an_address_is_a_text_or_a_table() {
    let config = good(&file(
        "[server]\ntrusted_proxies = ['10.0.0.0/8']\n\
         listen = ['[::]:80', { address = '0.0.0.0:81', proxy_protocol = true }, { address = '127.0.0.1:82' }]",
        "",
    ));
    let expected = [listener("[::]:80", false), listener("0.0.0.0:81", true), listener("127.0.0.1:82", false)];
    assert_eq!(config.server.listen, expected);
    assert_eq!(config.server.tls, None);
}

#[test]
fn tls_needs_a_certificate_and_everything_else_has_a_default() {
    let server = good(&file(&tls(""), "")).server;
    let certificate = CertificateFiles { chain: "/etc/passwd".into(), key: "/etc/hosts".into() };
    let default = Tls {
        listen: vec![listener("0.0.0.0:8443", false)],
        certificates: vec![certificate.clone()],
        min_version: TlsVersion::V1_2,
        redirect: None,
    };
    assert_eq!(server.tls, Some(default));
    let addresses: Vec<_> = server.listeners().map(|listener| listener.address.port()).collect();
    assert_eq!(addresses, [8080, 8443]);

    let full = file(
        "[server]\ntrusted_proxies = ['10.0.0.0/8']\n[server.tls]\nmin_version = '1.3'\nredirect = 8443\n\
         listen = ['[::]:443', { address = '0.0.0.0:444', proxy_protocol = true }]\n\
         certificates = [{ chain = '/etc/passwd', key = '/etc/hosts' }, { chain = '/etc/hosts', key = '/etc/passwd' }]",
        "",
    );
    let other = CertificateFiles { chain: "/etc/hosts".into(), key: "/etc/passwd".into() };
    let expected = Tls {
        listen: vec![listener("[::]:443", false), listener("0.0.0.0:444", true)],
        certificates: vec![certificate, other],
        min_version: TlsVersion::V1_3,
        redirect: Some(8443),
    };
    assert_eq!(good(&full).server.tls, Some(expected));
}

#[test]
fn a_redirect_is_to_the_usual_port_to_another_or_off() {
    let redirect = |value: &str| good(&file(&tls(&format!("redirect = {value}")), "")).server.tls.unwrap().redirect;
    assert_eq!((redirect("true"), redirect("false"), redirect("9443")), (Some(443), None, Some(9443)));
}

#[test]
fn a_router_can_be_reached_by_tls_alone() {
    let config = good(&file(&format!("[server]\nlisten = []\n{}", tls("")), ""));
    assert!(config.server.listen.is_empty() && config.server.tls.is_some());
}

#[test]
fn limits_and_times_are_read_and_zero_is_none() {
    let server = good(&file(
        "[server]\ndns_refresh = '1m'\ntimeouts.handshake = '3s'\n\
         limits = { connections = 10, connections_per_client = 0, streams = 7 }",
        "",
    ))
    .server;
    assert_eq!(server.limits, ServerLimits { connections: 10, connections_per_client: None, streams: 7 });
    assert_eq!((server.dns_refresh, server.timeouts.handshake), (Period::from_secs(60), Period::from_secs(3)));
    let default = good(&file("", "")).server;
    assert_eq!(default.limits, ServerLimits { connections: 65536, connections_per_client: Some(4096), streams: 100 });
    assert_eq!((default.dns_refresh, default.timeouts.handshake), (Period::from_secs(10), Period::from_secs(10)));
}

#[test]
fn a_faulty_door_says_what_to_do() {
    let tls_listen = |address: &str| tls(&format!("listen = ['{address}']"));
    for (top, path, part) in [
        ("[server]\nlisten = [8080]", "server.listen[0]", "this is an integer; write a text in quotes"),
        ("[server]\nlisten = [{ proxy_protocol = false }]", "server.listen[0].address", "the address is missing"),
        ("[server]\nlisten = [{ address = ':80' }]", "server.listen[0].address", "write ADDRESS:PORT"),
        ("[server]\nlisten = [{ adress = '[::]:80', address = '[::]:81' }]", "server.listen[0].adress", "`address`?"),
        (
            "[server]\nlisten = [{ address = '[::]:80', proxy_protocol = true }]",
            "server.listen[0].proxy_protocol",
            "name the proxies' networks in server.trusted_proxies",
        ),
        (
            "[server]\nlisten = [{ address = '[::]:80', proxy_protocol = 'v2' }]",
            "server.listen[0].proxy_protocol",
            "write true or false",
        ),
        ("[server.tls]\nlisten = ['0.0.0.0:443']", "server.tls.certificates", "TLS needs a certificate"),
        ("[server.tls]\ncertificates = []", "server.tls.certificates", "TLS needs a certificate"),
        ("[server.tls]\ncertificates = ['a.pem']", "server.tls.certificates[0]", "this is a string; write a table"),
        (
            "[server.tls]\ncertificates = [{ chain = '/etc/passwd' }]",
            "server.tls.certificates[0].key",
            "the key of the certificate is missing",
        ),
        (
            "[server.tls]\ncertificates = [{ key = '/etc/passwd' }]",
            "server.tls.certificates[0].chain",
            "the certificate is missing",
        ),
        (&tls("listen = []"), "server.tls.listen", "no address to listen on"),
        (&tls("min_version = '1.1'"), "server.tls.min_version", "none of the choices"),
        (&tls("redirect = 0"), "server.tls.redirect", "from 1 to 65535"),
        (&tls("redirect = 'yes'"), "server.tls.redirect", "true, false or a port"),
        (&format!("[server]\nlisten = []\n{}", tls("redirect = true")), "server.tls.redirect", "nobody to redirect"),
        ("[server]\nredirect = true", "server.redirect", "it belongs in [server.tls]"),
        (&tls_listen("0.0.0.0:8080"), "server.tls.listen[0]", "by the default of server.listen"),
        (&tls_listen("127.0.0.1:8080"), "server.tls.listen[0]", "is a part of 0.0.0.0:8080"),
        (
            &format!("[server]\nlisten = ['[::]:443']\n{}", tls_listen("[::]:443")),
            "server.tls.listen[0]",
            "listed twice: it is taken on line 2 already",
        ),
        (
            &format!("[server]\nlisten = ['0.0.0.0:8443']\n{}", tls("")),
            "server.tls.listen",
            "it is 0.0.0.0:8443 where it is left out",
        ),
        (&format!("[admin]\nlisten = '127.0.0.1:443'\n{}", tls_listen("0.0.0.0:443")), "admin.listen", "another port"),
        ("[server]\nlisten = ['0.0.0.0:9900']", "admin", "where visitors do; write another address"),
        ("[admin]\n[server]\nlisten = ['0.0.0.0:9900']", "admin.listen", "without admin.listen operators connect to"),
        ("[server.limits]\nconnections = 0", "server.limits.connections", "from 1 to"),
        ("[server.limits]\nconnections_per_client = -1", "server.limits.connections_per_client", "from 0 to"),
        ("[server.limits]\nstreams = 0", "server.limits.streams", "from 1 to"),
        ("[server]\ndns_refresh = '10ms'", "server.dns_refresh", "write at least 1s"),
        ("[server.timeouts]\nhandshake = '0s'", "server.timeouts.handshake", "write at least 1ms"),
    ] {
        one_fault(&file(top, ""), path, part);
    }
}

#[test]
fn the_same_port_of_both_families_is_not_a_clash() {
    good(&file("[server]\nlisten = ['0.0.0.0:80', '[::]:80', '127.0.0.1:0', '127.0.0.1:0']", ""));
}

#[test]
fn faults_of_listeners_come_at_once_with_their_lines() {
    let text = file(
        "[server]\nlisten = [\n  '0.0.0.0:80',\n  '0.0.0.0:80',\n  { address = '[::]:80', proxy_protocol = true },\n]\n\
         [server.tls]\nredirect = true\nmin_version = '2'\nlisten = ['[::]:80']",
        "",
    );
    let faults = faults(&text);
    let lines: Vec<_> = faults.iter().map(|fault| fault.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["4", "5", "7", "9", "10"], "{faults:#?}");
}

#[test]
fn a_certificate_that_is_not_there_is_warned_about() {
    let missing = "[server.tls]\ncertificates = [{ chain = 'site.pem', key = '/etc/hosts' }]";
    one_warning(&file(missing, ""), "server.tls.certificates[0].chain", "/etc/cutover/site.pem is not there");
}
