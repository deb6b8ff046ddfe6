// The pages work without it. It says which release's script a page got.
document.documentElement.dataset.script = "2026.11.1";
