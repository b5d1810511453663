// Sets the theme before the first paint. Kept in this browser: light, dark, or auto (the system's).
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const modes = ["auto", "light", "dark"];
  const stored = () => {
    try {
      const mode = localStorage.getItem("bhype-theme");
      return modes.includes(mode) ? mode : "auto";
    } catch {
      return "auto";
    }
  };
  const apply = () => {
    const mode = stored();
    root.dataset.theme = mode;
    root.dataset.bsTheme = mode === "auto" ? (dark.matches ? "dark" : "light") : mode;
  };
  apply();
  dark.addEventListener("change", apply);
  addEventListener("storage", apply);
  window.bhypeTheme = {
    modes,
    get: stored,
    set(mode) {
      try {
        localStorage.setItem("bhype-theme", mode);
      } catch {
        /* private window: the theme lasts as long as the page */
      }
      apply();
      root.dataset.theme = mode;
      root.dataset.bsTheme = mode === "auto" ? (dark.matches ? "dark" : "light") : mode;
    },
  };
})();
