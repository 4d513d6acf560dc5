// The one script a website embeds. It draws the launcher, and loads the panel, an iframe on the service's own origin,
// only when the visitor shows interest (points at it, reaches it by keyboard, touches it), or was here before. Until
// then: no request, no socket, nothing stored. It changes nothing of the page but for one element beside the body and
// one global name, `ChatWidget` (chatwidget.d.ts). What a site asks of the chat is carried to the panel, and waits here
// until it is loaded: page.ts does it there, and says what this script has the site hear.
import type { ChatWidgetApi, ChatWidgetEvents } from "./chatwidget";
import { drawLauncher } from "./launcher";
import { type Commands, post, receive, type ToPage, type ToPanel } from "./messages";

/** A call, as the page's stub writes it down before this script is there: a method's name and what it is given. */
type Call = [name: string, ...values: unknown[]];
type EventName = keyof ChatWidgetEvents;
type Listener = (detail: unknown) => void;
type Methods = Record<string, (...values: unknown[]) => void>;

/** A loaded panel should answer within this time; else the page that says why is loaded instead of it. */
const PATIENCE_MS = 4_000;

function start(script: HTMLScriptElement, calls: Call[]): void {
  const look = { ...script.dataset };
  const { widget, target, label = "Chat" } = look;
  const address = new URL(`w/${widget}/`, script.src);
  const { origin } = address;
  const { host, button, frame, badge } = drawLauncher(look, label);
  const ended = new AbortController();
  const watch = new MutationObserver(mount);
  /** The one entry in the page's storage: this visitor has a conversation. */
  const mark = `chatwidget:${widget}`;
  const listeners = new Set<[EventName, Listener]>();
  let waiting: Call[] = [];
  let iframe: HTMLIFrameElement | undefined;
  let ready = false;
  let heard = false;
  let asked = false;
  /** A panel that is part of the page is never closed. */
  let open = !!target;

  function emit(name: EventName, detail?: unknown): void {
    for (const [wanted, listener] of listeners) {
      // What a site's listener throws is the site's.
      if (wanted === name) setTimeout(listener, 0, detail);
    }
  }

  function fail(code: string, message: string): void {
    heard = true;
    if (!ready) show(false);
    console.error(`[chatwidget] ${code}: ${message}`);
    emit("error", { code, message });
  }

  function tell(type: ToPanel["type"], value?: unknown): void {
    const page = { url: location.href, title: document.title, referrer: document.referrer };
    post(iframe!.contentWindow!, origin, { type, value, page } as ToPanel);
  }

  function load(): void {
    if (iframe) return;
    iframe = document.createElement("iframe");
    iframe.title = label;
    iframe.allow = "clipboard-write";
    if (target) iframe.loading = "lazy";
    // What browsers show in place of a page that may not be here is nothing for visitors.
    iframe.style.opacity = "0";
    iframe.src = `${address}?locale=${look.locale}`;
    iframe.onload = () => {
      ready = heard = false;
      tell("hello", look);
      setTimeout(() => {
        if (heard) return;
        if (asked) fail("unreachable", `no answer from ${address}`);
        else iframe!.src = `${address}doctor/`;
        asked = true;
      }, PATIENCE_MS);
    };
    frame.append(iframe);
  }

  /** A phone's keyboard covers the foot of a fixed element: keep the panel to what can be seen. */
  function fit(): void {
    const { height, offsetTop } = visualViewport!;
    frame.style.setProperty("--height", `${height}px`);
    frame.style.setProperty("--top", `${offsetTop}px`);
  }

  function show(wanted: boolean): void {
    if (wanted === open || target) return;
    open = wanted;
    frame.classList.toggle("open", open);
    button.setAttribute("aria-expanded", `${open}`);
    if (open) {
      load();
      fit();
      // The iframe must hold the focus before its page may pass it on to the composer.
      iframe!.focus();
    } else if (document.activeElement === host) button.focus();
    const name = open ? "open" : "close";
    if (ready) tell(name);
    emit(name);
  }

  function hear(message: ToPage): void {
    heard = true;
    iframe!.style.opacity = "1";
    const { type } = message;
    if (type === "close") {
      show(false);
      return;
    }
    if (type === "ready") {
      ready = true;
      if (open && !target) tell("open");
      const calls = waiting;
      waiting = [];
      for (const [name, value] of calls) methods[name]!(value);
    } else if (type === "unread") {
      const { count } = message.detail;
      badge.textContent = (count || "") as string;
      button.setAttribute("aria-label", count ? `${label}: ${count}` : label);
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

  const api = {
    open(options) {
      if (options?.message) api.prefill(options.message);
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
    destroy() {
      ended.abort();
      watch.disconnect();
      host.remove();
      window.ChatWidget = undefined as never;
    },
    on(name, listener) {
      listeners.add([name, listener as Listener]);
      if (name === "ready" && ready) emit(name);
      return () => api.off(name, listener);
    },
    off(name, listener) {
      for (const one of listeners) {
        if (one[0] === name && (!listener || one[1] === listener)) listeners.delete(one);
      }
    },
  } as ChatWidgetApi;
  const methods = api as unknown as Methods;
  const carried = [
    "send",
    "reset",
    "prefill",
    "newConversation",
    "identify",
    "setContext",
    "setLocale",
    "setTheme",
  ];
  for (const name of carried as (keyof Commands)[]) {
    methods[name] = (value) => {
      // These two cannot wait for the visitor.
      if (/send|reset/.test(name)) load();
      if (ready) tell(name, value);
      // How things are, rather than what to do, is said again to a panel that the page has moved.
      if (!ready || /^set/.test(name)) waiting.push([name, value]);
    };
  }

  // Beside the body, not in it: a site that replaces its body leaves us, and a running chat, alone.
  function mount(): void {
    const place = target ? document.querySelector(target) : document.body && document.documentElement;
    if (!place || host.isConnected) return;
    place.append(host);
    if (target) load();
  }
  mount();
  watch.observe(document.documentElement, { childList: true, subtree: !!target });

  const on = {
    message(event: MessageEvent) {
      const message = iframe && receive<ToPage>(event, iframe.contentWindow, origin);
      if (message) hear(message);
    },
    click({ target }: MouseEvent) {
      const opener = (target as Element).closest?.<HTMLElement>("[data-chatwidget-open]");
      if (opener) api.open({ message: opener.dataset.chatwidgetOpen! });
    },
    securitypolicyviolation({ blockedURI }: SecurityPolicyViolationEvent) {
      if (blockedURI.startsWith(origin)) fail("csp", `add ${origin} to frame-src`);
    },
    // The focus went into the panel, perhaps after the site has shown another page.
    blur: () => ready && tell("page"),
  };
  for (const [name, listener] of Object.entries(on)) {
    addEventListener(name, listener as EventListener, ended);
  }
  for (const name of ["resize", "scroll"]) visualViewport!.addEventListener(name, fit, ended);
  button.onpointerenter = button.onfocus = button.ontouchstart = load;
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
  calls.push = (([name, ...values]: Call) => methods[name]?.(...values)) as never;
  for (const call of calls) calls.push(call);
}

// `currentScript` is missing where the tag is a module or was run by a bundler.
const script = (document.currentScript ??
  document.querySelector("script[data-widget]")) as HTMLScriptElement | null;
const there = window.ChatWidget as unknown as { queue?: Call[] } | undefined;
// Loaded twice: the launcher that is there stays.
if (!there || there.queue) {
  if (script?.dataset.widget) start(script, there?.queue ?? []);
  else console.error("[chatwidget] key_missing: add data-widget to the script tag");
}
