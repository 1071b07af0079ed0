(() => {
  "use strict";
  const root = document.documentElement;

  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  document.body.append(tip);
  for (const title of document.querySelectorAll(".hit > title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  }
  const hide = () => { tip.hidden = true; };
  document.addEventListener("pointermove", (event) => {
    const hit = event.target instanceof Element ? event.target.closest(".hit") : null;
    if (!hit) { hide(); return; }
    tip.textContent = hit.dataset.tip;
    tip.hidden = false;
    const gap = 14;
    const box = tip.getBoundingClientRect();
    const right = event.clientX + gap + box.width <= root.clientWidth;
    const x = right ? event.clientX + gap : event.clientX - gap - box.width;
    const y = Math.min(event.clientY + gap, root.clientHeight - box.height - 4);
    tip.style.left = `${Math.max(4, x)}px`;
    tip.style.top = `${Math.max(4, y)}px`;
  });
  document.addEventListener("pointerleave", hide);
  document.addEventListener("scroll", hide, { passive: true });

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "theme";
  const shown = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const name = () => { button.textContent = shown() === "dark" ? "Light" : "Dark"; };
  button.addEventListener("click", () => {
    root.dataset.theme = shown() === "dark" ? "light" : "dark";
    name();
  });
  button.setAttribute("aria-label", "Switch between light and dark");
  dark.addEventListener("change", name);
  name();
  document.querySelector("header").append(button);
})();
