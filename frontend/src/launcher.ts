// The button and the frame around the iframe, in a shadow root of their own: the host page's styles cannot reach in,
// and ours cannot leak out. Works under a strict Content-Security-Policy and Trusted Types: elements are made one by
// one, styles are adopted, and no string is ever parsed as HTML.
import style from "./launcher.css";

const CHAT =
  "M12 3.5c-5 0-9 3.4-9 7.7 0 2.4 1.3 4.6 3.3 6l-.8 3.5 4-2.1c.8.2 1.6.3 2.5.3 5 0 9-3.4 9-7.7s-4-7.7-9-7.7z";
const DOWN = "M5 9l7 7 7-7";
/** Where the panel is part of the page, it fills what it is put into, and there is no button. */
const INLINE =
  ":host{all:initial!important;display:grid!important;height:100%!important;min-height:480px!important}button{display:none}iframe{width:100%;height:100%;border:0}";

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
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

export function drawLauncher(look: Record<string, string | undefined>, label: string): Launcher {
  const { color, position, theme = "auto", target } = look;
  const host = document.createElement("chat-widget");
  const button = document.createElement("button");
  const frame = document.createElement("div");
  const badge = document.createElement("b");

  button.style.backgroundColor = color!;
  // Black or white, whichever contrasts more: `y` is the luminance of WCAG 2. The style sheet has both colours for the
  // case that there is none, or that a browser cannot reckon with it.
  const ink = "calc(9e9*(.18 - y))";
  button.style.color = `color(from ${color} xyz ${ink} ${ink} ${ink})`;
  button.setAttribute("aria-label", label);
  button.setAttribute("aria-haspopup", "dialog");
  button.setAttribute("aria-expanded", "false");
  button.append(icon(CHAT), icon(DOWN), badge);

  // The panel's background, until the panel has drawn its own.
  frame.style.colorScheme = theme.replace("auto", "light dark");
  frame.dir = button.dir = position === "left" ? "rtl" : "ltr";

  const sheet = new CSSStyleSheet();
  sheet.replaceSync(target ? INLINE : style);
  const root = host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [sheet];
  root.append(frame, button);
  return { host, button, frame, badge };
}
