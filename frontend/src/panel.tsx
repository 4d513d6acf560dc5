// The panel: reads the settings that came with its page, and joins the chat, the views and the page around it.
import { render } from "preact";
import { Chat } from "./chat";
import { fetchLater, type Later, later } from "./fetched";
import { Host } from "./host";
import type { Look, Page } from "./messages";
import type { Settings } from "./protocol";
import { keep } from "./storage";
import { type Catalogue, texts } from "./text";
import { applyLook } from "./theme";
import { App } from "./views/app";

/** The file that is fetched later, beside this one; the build knows its name. */
declare const LATER: string;

/** If no frame is painted by then (the tab is hidden, say), draw all the same. */
const UNPAINTED_MS = 100;

const read = (id: string) => JSON.parse(document.getElementById(id)!.textContent!);

function start(settings: Settings, words: Catalogue): void {
  const { documentElement } = document;
  const framed = window.parent !== window;
  const root = document.getElementById("app")!;
  const base = new URL("../../", location.href).href;
  let text = texts(documentElement.lang, settings.texts, words);
  let look: Look = {};
  let opened = 0;

  let spoken: string | undefined;
  const speak = async () => {
    const wanted = look.locale || settings.locale;
    // The page came in what the first `hello` says, too.
    spoken ??= wanted;
    if (wanted === spoken || !later()) return;
    spoken = wanted;
    const learnt = await later()!.learn(wanted);
    if (!learnt) return;
    text = texts(documentElement.lang, settings.texts, learnt);
    draw();
  };

  const dress = (change: Look) => {
    look = { ...look, ...change };
    applyLook(look.theme || settings.look.theme, look.color || settings.look.color);
    void speak();
    draw();
  };
  const host = framed
    ? new Host({
        hello(look) {
          // A part of the page: nobody opens it, and nobody closes it.
          if (look.target) chat.show(true);
          dress(look);
        },
        open() {
          opened += 1;
          chat.show(true);
          draw();
        },
        close: () => chat.show(false),
      })
    : null;
  const page = (): Page =>
    host?.page ?? { url: location.href, title: document.title, referrer: document.referrer };
  const chat = new Chat({ base, settings, locale: documentElement.lang, kept: keep(settings.key), page });

  const draw = () => {
    const ends = host &&
      !look.target && {
        close: () => host.tell({ type: "close" }),
        escape: () => host.tell({ type: "close" }),
      };
    render(
      <App chat={chat} settings={settings} text={text} opened={opened} {...(ends ? { host: ends } : {})} />,
      root,
    );
  };

  // However many frames arrive over the network, the panel is drawn once per frame on the screen.
  let due = false;
  let unread = 0;
  chat.subscribe(() => {
    const count = chat.state.conversations.reduce((sum, conversation) => sum + conversation.unread, 0);
    if (count !== unread) host?.tell({ type: "unread", detail: { count } });
    unread = count;
    if (due) return;
    due = true;
    const once = () => {
      if (!due) return;
      due = false;
      clearTimeout(timer);
      draw();
    };
    const timer = setTimeout(once, UNPAINTED_MS);
    requestAnimationFrame(once);
  });

  applyLook(settings.look.theme, settings.look.color);
  if (!framed) {
    opened = 1;
    chat.show(true);
  }
  draw();
  chat.start();
  // Behind all that is needed to type. A browser may remember that an address failed, hence the number.
  const load = (attempt: number): Promise<Later> => {
    const file = attempt ? `${LATER}?${attempt}` : LATER;
    return import(file);
  };
  void fetchLater(load).then(() => {
    draw();
    if (host) later()!.serve(host, chat, settings, dress);
  });
}

start(read("settings"), read("words"));
