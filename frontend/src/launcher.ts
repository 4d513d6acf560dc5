// The button and the frame around the iframe, in a shadow root of their own: the host page's styles cannot reach in,
// and ours cannot leak out. Works under a strict Content-Security-Policy and Trusted Types: elements are made one by
// one, styles are adopted, and no string is ever parsed as HTML.
import style from "./launcher.css";

const DEFAULT_COLOUR = "#4f46e5";
const CHAT =
  "M12 3.5c-5 0-9 3.4-9 7.7 0 2.4 1.3 4.6 3.3 6l-.8 3.5 4-2.1c.8.2 1.6.3 2.5.3 5 0 9-3.4 9-7.7s-4-7.7-9-7.7z";
const DOWN = "M5 9l7 7 7-7";

export interface Launcher {
  host: HTMLElement;
  button: HTMLButtonElement;
  /** Holds the iframe; shown while it has the class `open`. */
  frame: HTMLElement;
  badge: HTMLElement;
}

function icon(path: string): SVGElement {
  const make = (name: string) => document.createElementNS("http://www.w3.org/2000/svg", name);
  const svg = make("svg");
  const line = make("path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

/** Black or white, whichever contrasts more with `#rrggbb`: by colour.ts's formula, near enough for an icon. */
export function inkOn(colour: string): string {
  const light = (at: number) => (Number.parseInt(colour.slice(at, at + 2), 16) / 255) ** 2.2;
  return 0.2126 * light(1) + 0.7152 * light(3) + 0.0722 * light(5) > 0.18 ? "#000" : "#fff";
}

/** `inline`: there is no button, and the frame fills what the host is put into. */
export function drawLauncher(
  { color = "", position, theme }: Record<string, string | undefined>,
  label: string,
  inline: boolean,
): Launcher {
  const make = document.createElement.bind(document);
  const host = make("chat-widget");
  const button = make("button");
  const frame = make("div");
  const badge = make("b");

  const colour = /^#[\da-f]{6}$/i.test(color) ? color : DEFAULT_COLOUR;
  button.style.setProperty("--color", colour);
  button.style.setProperty("--ink", inkOn(colour));
  button.type = "button";
  button.setAttribute("aria-label", label);
  button.setAttribute("aria-haspopup", "dialog");
  button.setAttribute("aria-expanded", "false");
  // The button's name says the number too.
  badge.setAttribute("aria-hidden", "true");
  button.append(icon(CHAT), icon(DOWN), badge);

  // The panel's background, until the panel has drawn its own.
  const dark = theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme:dark)").matches);
  frame.classList.toggle("dark", dark);
  host.classList.toggle("left", position === "left");
  host.classList.toggle("inline", inline);

  const sheet = new CSSStyleSheet();
  sheet.replaceSync(style);
  const root = host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [sheet];
  root.append(frame, button);
  return { host, button, frame, badge };
}
