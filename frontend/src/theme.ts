// Looks: light or dark, and the brand's colour with whatever is needed to read it and to read on it.
import { css, parseHex, type Rgb, readableOn, textOn } from "./colour";

const DEFAULT_COLOUR = "#4f46e5";
/** The panel's backgrounds; panel.css has the same. */
const BACKGROUND = { light: [255, 255, 255], dark: [23, 25, 30] } as const satisfies Record<string, Rgb>;

/** Draws in `theme` (`light`, `dark`, or what the system says) and `colour`, and follows the system from then on. */
export function applyLook(theme: string, colour: string): void {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const draw = () => {
    const shade = theme === "dark" || (theme !== "light" && system.matches) ? "dark" : "light";
    const brand = parseHex(colour) ?? parseHex(DEFAULT_COLOUR)!;
    root.dataset.theme = shade;
    root.style.setProperty("--brand", css(brand));
    root.style.setProperty("--on-brand", css(textOn(brand)));
    root.style.setProperty("--brand-ink", css(readableOn(brand, BACKGROUND[shade])));
  };
  system.onchange = draw;
  draw();
}
