// The panel as the page around it, a widget's page in the admin, says that it would be: the same views over a sample.
// Speaks to no service and keeps nothing; its page's policy would not let it.
import { render } from "preact";
import { fetchLater } from "../fetched";
import * as file from "../later";
import { post, receive } from "../messages";
import type { Settings } from "../protocol";
import { type Catalogue, texts } from "../text";
import { applyLook } from "../theme";
import { App } from "../views/app";
import type { Place, ToPreview } from "./draft";
import { SampleChat } from "./sample";

const { lang } = document.documentElement;
const root = document.getElementById("app")!;
const words: Catalogue = JSON.parse(document.getElementById("words")!.textContent!);
const tellClose = () => post(window.parent, location.origin, { type: "close" });
const host = { close: tellClose, escape: tellClose };

let settings: Settings;
let chat: SampleChat | undefined;

function draw(): void {
  const text = texts(lang, settings.texts, words);
  render(<App chat={chat!} settings={settings} text={text} host={host} opened={0} />, root);
}

function begin(): SampleChat {
  const begun = new SampleChat(settings, lang);
  begun.subscribe(draw);
  return begun;
}

/** Goes there as a visitor would. */
function goTo(place: Place, sample: SampleChat): void {
  if (place === "start") {
    sample.newConversation();
    return;
  }
  sample.talk();
  if (place === "talk") return;
  const thumbs = [...root.querySelectorAll(".thumbs")].at(-1);
  const thumb = place === "up" ? thumbs?.firstElementChild : thumbs?.lastElementChild;
  if (thumb?.getAttribute("aria-pressed") === "false") (thumb as HTMLElement).click();
}

addEventListener("message", (event) => {
  const message = receive<ToPreview>(event, window.parent, location.origin);
  if (message?.type !== "draft") return;
  settings = message.settings;
  chat ??= begin();
  chat.limits = settings.attachments;
  chat.dispatch({ type: "set", change: { paused: settings.paused } });
  applyLook(settings.look.theme, settings.look.color);
  draw();
  if (message.place) goTo(message.place, chat);
});

void fetchLater(async () => file);
