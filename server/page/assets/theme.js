// Before the page is drawn, so that it does not flash: the colours that were chosen last time.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("rnnserve.theme");
  } catch {
    // storage is blocked: the system's colours
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
