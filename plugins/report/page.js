"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  const show = () => { button.textContent = isDark() ? "Light theme" : "Dark theme"; };
  try { root.dataset.theme = localStorage.getItem("theme") || ""; } catch { /* a file may have no storage */ }
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* as above */ }
    show();
  });
  show();

  for (const browser of document.querySelectorAll(".texts")) {
    const form = browser.querySelector("form");
    const texts = [...browser.querySelectorAll("article")];
    const words = texts.map((text) => text.textContent.toLowerCase());
    const count = browser.querySelector("output");
    const filter = () => {
      const wanted = form.elements.query.value.toLowerCase().split(/\s+/).filter(Boolean);
      const stream = form.elements.stream.value;
      const pairs = form.elements.pairs.value;
      let shown = 0;
      texts.forEach((text, at) => {
        const fits = wanted.every((word) => words[at].includes(word))
          && (!stream || text.dataset.stream === stream)
          && (!pairs || (text.dataset.pairs === "0") === (pairs === "without"));
        text.hidden = !fits;
        shown += fits ? 1 : 0;
      });
      count.textContent = `${shown} of ${texts.length} texts`;
    };
    form.hidden = false;
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    browser.querySelector(".all").addEventListener("click", () => {
      const shut = texts.some((text) => !text.hidden && !text.firstElementChild.open);
      for (const text of texts) if (!text.hidden) text.firstElementChild.open = shut;
    });
    filter();
  }
})();
