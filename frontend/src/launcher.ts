// The button and the frame around the iframe, in a shadow root of their own: the host page's styles cannot reach in,
// and ours cannot leak out. Works under a strict Content-Security-Policy and Trusted Types: elements are made one by
// one, styles are adopted, and no string is ever parsed as HTML.
import { css, parseHex, textOn } from "./colour";
import style from "./launcher.css";
import type { Look } from "./messages";

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

export function drawLauncher(look: Look, label: string): Launcher {
  const host = document.createElement("chat-widget");
  const button = document.createElement("button");
  const frame = document.createElement("div");
  const badge = document.createElement("b");

  const colour = parseHex(look.color) ?? parseHex(DEFAULT_COLOUR)!;
  button.style.setProperty("--color", css(colour));
  button.style.setProperty("--ink", css(textOn(colour)));
  button.type = "button";
  button.setAttribute("aria-label", label);
  button.setAttribute("aria-haspopup", "dialog");
  button.setAttribute("aria-expanded", "false");
  // The button's name says the number too.
  badge.setAttribute("aria-hidden", "true");
  button.append(icon(CHAT), icon(DOWN), badge);

  // The panel's background, until the panel has drawn its own.
  const dark =
    look.theme === "dark" || (look.theme !== "light" && matchMedia("(prefers-color-scheme:dark)").matches);
  frame.classList.toggle("dark", dark);
  for (const part of [button, frame]) part.classList.toggle("left", look.position === "left");

  const sheet = new CSSStyleSheet();
  sheet.replaceSync(style);
  const root = host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [sheet];
  root.append(frame, button);
  return { host, button, frame, badge };
}
