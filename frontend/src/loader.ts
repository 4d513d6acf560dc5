// The one script a website embeds. It draws the launcher, and loads the panel, an iframe on the service's own origin,
// only when the visitor shows interest (points at it, reaches it by keyboard, touches it). Until then: no request, no
// socket, no storage. It changes nothing of the page but for one element at the end of the body and one global name.
import { drawLauncher } from "./launcher";
import { type Look, type Page, post, receive, type ToPage, type ToPanel } from "./messages";

/** The global that a site's own scripts may call. */
export interface ChatWidgetApi {
  open(): void;
  close(): void;
  toggle(): void;
  readonly isOpen: boolean;
}

declare global {
  interface Window {
    ChatWidget?: ChatWidgetApi;
  }
}

/** The panel should answer within this time; else the console says what to look at. */
const PATIENCE_MS = 10_000;
const INTEREST = ["pointerenter", "focus", "touchstart"];
/** Below this width the panel fills the screen; launcher.css says the same. */
const NARROW = "(max-width:640px)";

function complain(code: string, what: string): void {
  console.error(`[chatwidget] ${code}: ${what}`);
}

function start(script: HTMLScriptElement): void {
  const { widget, label = "Chat", ...rest } = script.dataset;
  if (!widget) {
    complain(
      "key_missing",
      'add data-widget="pk_..." to the script tag; the admin shows the whole line to copy.',
    );
    return;
  }
  const look: Look = {
    color: rest.color,
    position: rest.position,
    theme: rest.theme,
    locale: rest.locale,
    label,
  };
  const address = new URL(`w/${encodeURIComponent(widget)}/`, script.src);
  const { host, button, frame, badge } = drawLauncher(look, label);
  const narrow = matchMedia(NARROW);
  let iframe: HTMLIFrameElement | undefined;
  let ready = false;
  let open = false;

  const page = (): Page => ({ url: location.href, title: document.title, referrer: document.referrer });
  const tell = (message: ToPanel) => {
    if (iframe?.contentWindow) post(iframe.contentWindow, address.origin, message);
  };

  function load(): void {
    if (iframe) return;
    iframe = document.createElement("iframe");
    iframe.title = label;
    iframe.allow = "clipboard-write";
    iframe.src = address.href;
    iframe.onload = () => {
      tell({ type: "hello", page: page(), ...look });
      setTimeout(() => {
        if (!ready) {
          complain(
            "panel_silent",
            `${address.href} did not answer. Check the key, that the widget allows the origin ${location.origin}, and that this page's Content-Security-Policy allows it in frame-src.`,
          );
        }
      }, PATIENCE_MS);
    };
    frame.append(iframe);
  }

  /** A phone's keyboard covers the foot of a fixed element: keep the panel to what can be seen. */
  function fit(): void {
    const view = visualViewport;
    if (!view) return;
    const full = open && narrow.matches;
    frame.style.setProperty("--height", full ? `${view.height}px` : "");
    frame.style.setProperty("--top", full ? `${view.offsetTop}px` : "");
  }

  function show(wanted: boolean): void {
    if (wanted === open) return;
    open = wanted;
    if (open) load();
    frame.classList.toggle("open", open);
    button.setAttribute("aria-expanded", String(open));
    fit();
    if (open) {
      // The iframe must hold the focus before its page may pass it on to the composer.
      iframe?.focus();
      if (ready) tell({ type: "open", page: page() });
    } else {
      tell({ type: "close" });
      button.focus();
    }
  }

  function setUnread(count: number): void {
    badge.textContent = count > 0 ? String(Math.min(count, 99)) : "";
    button.setAttribute("aria-label", count > 0 ? `${label}: ${count}` : label);
  }

  addEventListener("message", (event) => {
    if (!iframe) return;
    const message = receive<ToPage>(event, iframe.contentWindow, address.origin);
    if (message?.type === "ready") {
      ready = true;
      if (open) tell({ type: "open", page: page() });
    } else if (message?.type === "unread") {
      setUnread(message.count);
    } else if (message?.type === "close" || message?.type === "escape") {
      show(false);
    }
  });
  for (const name of INTEREST) button.addEventListener(name, load, { once: true, passive: true });
  button.addEventListener("click", () => show(!open));
  button.addEventListener("keydown", (event) => {
    if (event.key === "Escape") show(false);
  });
  for (const name of ["resize", "scroll"]) visualViewport?.addEventListener(name, fit);

  window.ChatWidget = {
    open: () => show(true),
    close: () => show(false),
    toggle: () => show(!open),
    get isOpen() {
      return open;
    },
  };

  const mount = () => document.body.append(host);
  if (document.body) mount();
  else addEventListener("DOMContentLoaded", mount);
}

// `currentScript` is missing where the tag is a module or was run by a bundler.
const current = document.currentScript ?? document.querySelector("script[data-widget]");
if (window.ChatWidget) {
  // Loaded twice: the launcher that is there stays.
} else if (current instanceof HTMLScriptElement && current.src) {
  start(current);
} else {
  complain(
    "tag_missing",
    'load this file by <script async src=".../widget.js" data-widget="pk_..."></script>.',
  );
}
