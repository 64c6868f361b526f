"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");
  const said = document.getElementById("said");

  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      const text = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(text.textContent);
        said.textContent = "Copied.";
      } catch {
        getSelection().selectAllChildren(text);
        said.textContent = "Selected: copy it with your keyboard.";
      }
    });
  }

  const form = document.querySelector("form.filter");
  if (form) {
    const rows = [...document.querySelectorAll("[data-verdict]")];
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const tests = rows.filter((row) => row.hasAttribute("data-test")).length;
    const filter = () => {
      const asked = new FormData(form);
      const verdicts = new Set(asked.getAll("verdict"));
      const area = asked.get("area");
      const words = asked.get("words").toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, number) => {
        const fits = verdicts.has(row.dataset.verdict) && (!area || row.dataset.area === area)
          && words.every((word) => texts[number].includes(word));
        row.hidden = !fits;
        shown += fits && row.hasAttribute("data-test");
      });
      if (area || words.length) document.querySelectorAll("details.area").forEach((details) => { details.open = true; });
      said.textContent = `${shown} of ${tests} tests shown.`;
    };
    form.addEventListener("input", filter);
    form.addEventListener("reset", () => setTimeout(filter));
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  // On paper nothing can be opened.
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("article details, details.area")) details.open = true;
  });
})();
