// The one script a website embeds. It draws the launcher, and loads the panel, an iframe on the service's own origin,
// only when the visitor shows interest (points at it, reaches it by keyboard, touches it), or was here before. Until
// then: no request, no socket, nothing stored. It changes nothing of the page but for one element beside the body and
// one global name, `ChatWidget` (chatwidget.d.ts). What a site asks of the panel waits until the panel is there.
import type { ChatWidgetApi, ChatWidgetEvents } from "./chatwidget";
import { drawLauncher } from "./launcher";
import { type Command, type Page, post, receive, type ToPage, type ToPanel } from "./messages";

/** A call from before this script was there: a method's name and what it was given. */
type Call = [name: string, ...values: unknown[]];
type Listener = (detail: unknown) => void;
type EventName = keyof ChatWidgetEvents;

/** A loaded panel should answer within this time; else the page that says why is loaded instead of it. */
const PATIENCE_MS = 4_000;

function start(script: HTMLScriptElement, queue: Call[]): void {
  const look: Record<string, string | undefined> = { ...script.dataset };
  const { widget, target, label = "Chat" } = look;
  const address = new URL(`w/${widget}/`, script.src);
  const { origin } = address;
  const { host, button, frame, badge } = drawLauncher(look, label, !!target);
  const narrow = matchMedia("(max-width:640px)"); // launcher.css says the same
  const ended = new AbortController();
  const { signal } = ended;
  /** The one entry in the page's storage: this visitor has a conversation. */
  const mark = `chatwidget:${widget}`;
  let listeners: [EventName, Listener][] = [];
  let waiting: ToPanel[] = [];
  let context = {};
  let iframe: HTMLIFrameElement | undefined;
  let ready = false;
  let heard = false;
  let asked = false;
  let timer: number | undefined;
  let open = !!target;

  function emit(name: EventName, detail?: unknown): void {
    for (const [wanted, listener] of listeners) {
      // What a site's listener throws is the site's.
      if (wanted === name) queueMicrotask(() => listener(detail));
    }
  }

  function complain(code: string, message: string): void {
    heard = true;
    console.error(`[chatwidget] ${code}: ${message}`);
    emit("error", { code, message });
  }

  const page = (): Page => ({
    url: location.href,
    title: document.title,
    referrer: document.referrer,
    ...context,
  });
  function tell(type: ToPanel["type"], value?: unknown, now = ready): void {
    const message = { type, value, page: page() } as ToPanel;
    if (now) post(iframe!.contentWindow!, origin, message);
    else waiting.push(message);
  }

  function load(): void {
    if (iframe) return;
    iframe = document.createElement("iframe");
    iframe.title = label;
    iframe.allow = "clipboard-write";
    if (target) iframe.loading = "lazy";
    iframe.src = address.href;
    iframe.onload = () => {
      ready = heard = false;
      tell("hello", look, true);
      clearTimeout(timer);
      timer = setTimeout(() => {
        if (heard) return;
        if (asked) complain("unreachable", `${address} does not answer`);
        else iframe!.src = `${address}doctor/`;
        asked = true;
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
    if (wanted === open || target) return;
    open = wanted;
    if (open) load();
    frame.classList.toggle("open", open);
    button.setAttribute("aria-expanded", `${open}`);
    fit();
    if (open) {
      // The iframe must hold the focus before its page may pass it on to the composer.
      iframe!.focus();
      if (ready) tell("open");
    } else {
      if (ready) tell("close");
      if (document.activeElement === host) button.focus();
    }
    emit(open ? "open" : "close");
  }

  function hear(message: ToPage): void {
    heard = true;
    const { type } = message;
    if (type === "close" || type === "escape") return show(false);
    if (type === "ready") {
      if (ready) return;
      ready = true;
      if (open && !target) tell("open");
      for (const one of waiting) post(iframe!.contentWindow!, origin, one);
      waiting = [];
    } else if (type === "unread") {
      const { count } = message.detail;
      badge.textContent = count > 0 ? `${Math.min(count, 99)}` : "";
      button.setAttribute("aria-label", count > 0 ? `${label}: ${count}` : label);
    } else if (type === "conversation") {
      try {
        if (message.detail.id) localStorage[mark] = 1;
        else delete localStorage[mark];
      } catch {
        // Blocked: the panel then loads at the first interest.
      }
    }
    emit(type, (message as { detail?: unknown }).detail);
  }

  const restyle = (change: object) => tell("hello", Object.assign(look, change));
  const api = {
    open(options) {
      if (options?.message) tell("prefill", options.message);
      show(true);
    },
    close: () => show(false),
    toggle: () => show(!open),
    isOpen: () => open,
    show() {
      button.hidden = false;
    },
    hide() {
      button.hidden = true;
      show(false);
    },
    setContext(wanted) {
      context = wanted;
      tell("page");
    },
    setLocale: (locale) => restyle({ locale }),
    setTheme: (theme) => restyle({ theme }),
    destroy() {
      ended.abort();
      watch.disconnect();
      clearTimeout(timer);
      host.remove();
      Reflect.deleteProperty(window, "ChatWidget");
    },
    on(name, listener) {
      listeners.push([name, listener as Listener]);
      if (name === "ready" && ready) emit(name);
      return () => api.off(name, listener);
    },
    off(name, listener) {
      listeners = listeners.filter((one) => one[0] !== name || (listener && one[1] !== listener));
    },
  } as ChatWidgetApi;
  for (const name of ["send", "reset", "prefill", "newConversation", "identify"] as Command["type"][]) {
    api[name] = (value?: string) => {
      if (name === "send" || name === "reset") load();
      tell(name, value);
    };
  }

  // Beside the body, not in it: a site that replaces its body leaves us, and a running chat, alone.
  const watch = new MutationObserver(mount);
  function mount(): void {
    const root = document.documentElement;
    const place = target ? document.querySelector(target) : document.body && root;
    if (!place || host.isConnected) return;
    place.append(host);
    for (const node of [document, root]) watch.observe(node, { childList: true, subtree: !!target });
    if (target) load();
  }
  mount();
  addEventListener("DOMContentLoaded", mount, { signal });

  addEventListener(
    "message",
    (event) => {
      const message = iframe && receive<ToPage>(event, iframe.contentWindow, origin);
      if (message) hear(message);
    },
    { signal },
  );
  addEventListener(
    "click",
    (event) => {
      const opener = (event.target as Element).closest?.<HTMLElement>("[data-chatwidget-open]");
      if (opener) api.open({ message: opener.dataset.chatwidgetOpen! });
    },
    { signal },
  );
  addEventListener(
    "securitypolicyviolation",
    ({ blockedURI }) => {
      if (blockedURI.startsWith(origin)) complain("csp", `add ${origin} to this page's frame-src`);
    },
    { signal },
  );
  // The focus went into the panel, perhaps after the site has shown another page.
  addEventListener("blur", () => ready && tell("page"), { signal });
  for (const name of ["resize", "scroll"]) visualViewport?.addEventListener(name, fit, { signal });
  for (const name of ["pointerenter", "focus", "touchstart"]) {
    button.addEventListener(name, load, { passive: true });
  }
  button.onclick = () => show(!open);
  button.onkeydown = ({ key }) => {
    if (key === "Escape") show(false);
  };
  try {
    if (localStorage[mark]) (window.requestIdleCallback ?? setTimeout)(load);
  } catch {
    // Blocked.
  }

  window.ChatWidget = api;
  const run = ([name, ...values]: Call) => (api as unknown as Record<string, Listener>)[name]?.(...(values as [unknown]));
  queue.push = run as never;
  for (const call of queue) run(call);
}

// `currentScript` is missing where the tag is a module or was run by a bundler.
const current = document.currentScript ?? document.querySelector("script[data-widget]");
const found = window.ChatWidget as unknown as { queue?: Call[] } | undefined;
if (found && !found.queue) {
  // Loaded twice: the launcher that is there stays.
} else if (current instanceof HTMLScriptElement && current.dataset.widget) {
  start(current, found?.queue ?? []);
} else {
  console.error('[chatwidget] key_missing: load widget.js by a script tag with data-widget="pk_..."');
}
