// @vitest-environment happy-dom
import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { Chat } from "../src/chat";
import { fetchLater } from "../src/fetched";
import type { Message, Settings } from "../src/protocol";
import { keep } from "../src/storage";
import { texts } from "../src/text";
import { App } from "../src/views/app";
import { fakeSockets } from "./fakes";
import { CONVERSATION, conversation, message, settings } from "./samples";

let root: HTMLElement;
let chat: Chat;
let requests: { method: string; path: string; body: Record<string, unknown> }[];
let refuse: boolean;

beforeAll(() => fetchLater(() => import("../src/later")));
beforeEach(() => {
  fakeSockets();
  localStorage.clear();
  requests = [];
  refuse = false;
  vi.stubGlobal("fetch", async (url: string, init: RequestInit) => {
    const body = JSON.parse(String(init.body ?? "{}"));
    requests.push({ method: init.method!, path: url.split("/api/v1/")[1]!, body });
    if (refuse && url.endsWith("/feedback"))
      return new Response('{"code":"feedback_not_allowed"}', { status: 409 });
    const session = { token: "t", visitor: { id: "v" }, widget: settings(), conversations: [conversation()] };
    return new Response(JSON.stringify(url.endsWith("/sessions") ? session : body), { status: 200 });
  });
  root = document.createElement("div");
  document.body.append(root);
});
afterEach(() => {
  render(null, root);
  root.remove();
});

const host = { close: vi.fn(), escape: vi.fn() };

function open(change: Partial<Settings> = {}): void {
  const chosen = settings(change);
  const page = () => ({ url: "", title: "", referrer: "" });
  chat = new Chat({
    base: "https://chat.test/",
    settings: chosen,
    locale: "en",
    kept: keep("pk_test"),
    page,
  });
  chat.dispatch({ type: "conversations", conversations: [conversation()] });
  const text = texts("en", chosen.texts);
  const draw = () =>
    act(() => render(<App chat={chat} settings={chosen} text={text} host={host} opened={1} />, root));
  draw();
  chat.subscribe(draw);
}

/** Opens a conversation as it stands. */
function show(...messages: Message[]): void {
  chat.dispatch({ type: "opened", conversation: CONVERSATION });
  chat.dispatch({ type: "ready", conversation: CONVERSATION, messages });
}

const one = <T extends Element = HTMLElement>(selector: string) => root.querySelector<T>(selector)!;
const button = (label: string) => one<HTMLButtonElement>(`button[aria-label="${label}"]`);
const said = () => one("[role=status]").textContent;
const votes = () => requests.filter(({ path }) => path.endsWith("/feedback")).map(({ body }) => body);
/** Lets requests come back. */
const settle = () => act(() => new Promise((done) => setTimeout(done, 0)));
const click = async (target: Element) => {
  await act(() => (target as HTMLElement).click());
  await settle();
};
async function type(area: HTMLTextAreaElement, value: string) {
  await act(() => {
    area.value = value;
    area.dispatchEvent(new Event("input", { bubbles: true }));
  });
}
async function press(target: Element, key: string, more: KeyboardEventInit = {}) {
  await act(() => {
    target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
  });
  await settle();
}

describe("before the first question", () => {
  test("there is a greeting and there are prompts, which send themselves", async () => {
    open({ texts: { greeting: "Hello **you**" }, starters: ["Prices?"] });
    const send = vi.spyOn(chat, "send").mockImplementation(() => {});
    expect(one(".welcome strong").textContent).toBe("you");
    await click(one(".starters button"));
    expect(send).toHaveBeenCalledWith("Prices?");
  });

  test("a paused widget takes no questions", () => {
    open({ paused: true, starters: ["Prices?"] });
    expect(one("textarea")).toBe(null);
    expect(one(".starters")).toBe(null);
    expect(one(".notice").textContent).toContain("break");
  });
});

describe("the composer", () => {
  test("sends on Enter, not on Shift+Enter, and not while a word is being composed", async () => {
    open();
    const send = vi.spyOn(chat, "send").mockImplementation(() => {});
    const area = one<HTMLTextAreaElement>(".composer textarea");
    await type(area, "  Hi ");
    await press(area, "Enter", { shiftKey: true });
    await press(area, "Enter", { isComposing: true });
    await press(area, "Enter", { keyCode: 229 });
    expect(send).not.toHaveBeenCalled();
    await press(area, "Enter");
    expect(send).toHaveBeenCalledWith("Hi", []);
    expect(area.value).toBe("");
  });

  test("sends nothing that is empty or too long", async () => {
    open({ max_length: 5 });
    const send = vi.spyOn(chat, "send").mockImplementation(() => {});
    const area = one<HTMLTextAreaElement>(".composer textarea");
    for (const text of ["   ", "123456"]) {
      await type(area, text);
      await press(area, "Enter");
    }
    expect(send).not.toHaveBeenCalled();
    expect(one(".too-long").textContent).toContain("1 ");
  });

  test("stops an answer that is coming, and keeps what is written meanwhile", async () => {
    open();
    show(message({ role: "visitor" }), message({ id: "a", status: "streaming", text: "Hel", seq: 1 }));
    const area = one<HTMLTextAreaElement>(".composer textarea");
    await type(area, "Next");
    await press(area, "Enter");
    expect(area.value).toBe("Next");
    await click(button("Stop answer"));
    expect(requests.map(({ path }) => path)).toContain("messages/a/stop");
  });

  test("holds what is sent while an answer comes, says so, and sends it when the answer has ended", async () => {
    open();
    const send = vi.spyOn(chat, "send").mockImplementation(() => {});
    show(message({ role: "visitor" }), message({ id: "a", status: "streaming", text: "Hel", seq: 1 }));
    const area = one<HTMLTextAreaElement>(".composer textarea");
    await type(area, "Next");
    await press(area, "Enter");
    expect(one(".composer .notice").textContent).toBe("Waiting for the answer before this one.");
    expect(said()).toBe("Waiting for the answer before this one.");
    expect(send).not.toHaveBeenCalled();
    chat.dispatch({ type: "merge", messages: [message({ id: "a", text: "Hello", seq: 2 })] });
    await settle();
    expect(send).toHaveBeenCalledExactlyOnceWith("Next", []);
    expect(area.value).toBe("");
  });

  test("does not send what was held once it is changed, or the visitor is in another conversation", async () => {
    open();
    const send = vi.spyOn(chat, "send").mockImplementation(() => {});
    const comes = message({ id: "a", status: "streaming", text: "Hel", seq: 1 });
    show(message({ role: "visitor" }), comes);
    const area = one<HTMLTextAreaElement>(".composer textarea");
    await type(area, "Next");
    await press(area, "Enter");
    await type(area, "Next to");
    expect(one(".composer .notice")).toBe(null);
    await press(area, "Enter");
    await act(() => chat.newConversation());
    await settle();
    show(comes);
    show({ ...comes, status: "completed" });
    await settle();
    expect(send).not.toHaveBeenCalled();
    expect(area.value).toBe("Next to");
  });

  test("shows a file that was added, and says what is wrong with it", async () => {
    document.documentElement.lang = "en";
    open({ attachments: { types: ["pdf"], max_bytes: 9, max_count: 5 } });
    const scrolled = vi.spyOn(Element.prototype, "scrollTo");
    await act(() => chat.files!.add([new File(["1"], "tax.exe")]));
    await settle();
    expect(said()).toBe("tax.exe: Such files cannot be sent");
    expect(scrolled.mock.contexts.at(-1)).toBe(one(".composer .files"));
  });

  test("offers no stop where the agent cannot be stopped", () => {
    open({ agent: { streams: false, stops: false } });
    show(message({ status: "pending" }));
    expect(button("Stop answer")).toBe(null);
    expect(button("Send message").disabled).toBe(true);
  });
});

describe("an answer", () => {
  test("that is expected shows dots at once", () => {
    open();
    show(message({ role: "visitor" }), message({ status: "pending" }));
    expect(one(".typing .dots")).not.toBe(null);
  });

  test("that was stopped empty is not drawn", () => {
    open();
    show(message({ role: "visitor" }), message({ status: "stopped" }));
    expect(one(".answer")).toBe(null);
  });

  test("that the visitor stopped before it began is named, until it is asked for again", async () => {
    open();
    const asked = message({ role: "visitor" });
    show(asked, message({ id: "a", status: "pending" }));
    await click(button("Stop answer"));
    const stopped = message({ id: "a", status: "stopped" });
    show(asked, stopped);
    expect(one(".trouble").textContent).toBe("You stopped this answer.Try again");
    show(asked, stopped, message({ role: "visitor" }), message({ status: "pending" }));
    expect(one(".trouble").textContent).toBe("You stopped this answer.");
    show(asked, stopped, message({ status: "pending" }));
    expect(one(".trouble")).toBe(null);
  });

  test("that failed says why in plain words, and can be asked for again if it is the last", async () => {
    open();
    const failed = (id: string) =>
      message({ id, status: "failed", text: "Hal", error: { code: "interrupted", message: "" } });
    show(message({ role: "visitor" }), failed("a1"), failed("a2"));
    expect(one(".trouble").textContent).toContain("cut off");
    expect(root.querySelectorAll(".trouble button")).toHaveLength(1);
    await click(one(".trouble button"));
    expect(requests.map(({ path }) => path)).toContain("messages/a2/retry");
  });

  test("is said to a screen reader once, when it is finished, and not word by word", () => {
    open();
    const answer = message({ status: "streaming", text: "Hel", seq: 1 });
    show(message({ text: "Earlier" }), answer);
    expect(one("[role=log]").getAttribute("aria-live")).toBe("off");
    expect(said()).toBe("");
    act(() =>
      chat.dispatch({ type: "message", message: { ...answer, status: "completed", text: "Hello **you**" } }),
    );
    expect(said()).toBe("Acme says: Hello you");
  });

  test("lists its sources by number, and links to safe addresses only", () => {
    open();
    const citations = [
      { title: "Docs", url: "https://x.test/a" },
      { title: "Bad", url: "javascript:alert(1)" },
    ];
    show(message({ text: "Hi", citations }));
    expect([...root.querySelectorAll(".sources li")].map((item) => item.textContent)).toEqual([
      "Docs x.test",
      "Bad",
    ]);
    expect(root.querySelectorAll(".sources a")).toHaveLength(1);
  });
});

test("offers an answer's links as buttons, safe ones only", () => {
  open();
  const links = [
    { title: "Book a table x.test", url: "https://x.test/book" },
    { title: "Bad", url: "javascript:alert(1)" },
  ];
  show(message({ text: "Hi", links }));
  const drawn = [...root.querySelectorAll(".chips a")];
  expect(drawn.map((link) => [link.textContent, link.getAttribute("href")])).toEqual([
    ["Book a table x.test", "https://x.test/book"],
  ]);
});

test("a person's replies are told apart, and nobody is shown typing", () => {
  open();
  chat.dispatch({ type: "conversation", conversation: conversation({ mode: "human" }) });
  show(message({ role: "visitor" }), message({ status: "pending" }), message({ role: "human", text: "Hi" }));
  expect(one(".head .human").textContent).toBe("A person is answering");
  expect(one(".typing")).toBe(null);
  expect(one(".answer.human").textContent).toContain("Hi");
});

describe("feedback", () => {
  const answer = message({ id: "a", text: "Hello" });
  const up = () => button("Good answer");
  const down = () => button("Bad answer");
  const pressed = () => [up(), down()].map((each) => each.getAttribute("aria-pressed"));

  test("is offered on rateable messages of widgets that want it", () => {
    open();
    show({ ...answer, rateable: false });
    expect(up()).toBe(null);
    show(answer);
    expect(up()).not.toBe(null);
    open({ feedback: { ...settings().feedback, enabled: false } });
    show(answer);
    expect(up()).toBe(null);
  });

  test("is saved by the first click, before any comment", async () => {
    open();
    show(answer);
    await click(down());
    expect(votes()).toEqual([{ vote: "down", comment: "", reasons: [] }]);
    expect(pressed()).toEqual(["false", "true"]);
    expect(one(".ask textarea")).not.toBe(null);
  });

  test("takes reasons and a comment, which Enter sends, and says thanks", async () => {
    open();
    show(answer);
    await click(down());
    await click(one(".chips button"));
    const area = one<HTMLTextAreaElement>(".ask textarea");
    await type(area, "Too short");
    await press(area, "Enter");
    expect(votes().at(-1)).toEqual({ vote: "down", comment: "Too short", reasons: ["wrong"] });
    expect(one(".ask")).toBe(null);
    expect(one(".actions .note").textContent).toContain("Thanks");
    expect(document.activeElement).toBe(down());
  });

  test("is taken back by a second click", async () => {
    open();
    show({ ...answer, feedback: { vote: "up", comment: "", reasons: [] } });
    await click(up());
    expect(votes()).toEqual([{ vote: null, comment: "", reasons: [] }]);
    expect(pressed()).toEqual(["false", "false"]);
    expect(one(".actions .note").textContent).toBe("Your rating was removed.");
  });

  test("does not promise what the agent's vendor cannot do", async () => {
    open({ feedback: { ...settings().feedback, clearable: false } });
    show({ ...answer, feedback: { vote: "up", comment: "", reasons: [] } });
    await click(up());
    expect(one(".actions .note").textContent).toContain("may keep its copy");
  });

  test("changes sides with its comment", async () => {
    open();
    show({ ...answer, feedback: { vote: "down", comment: "Too short", reasons: ["wrong"] } });
    await click(up());
    expect(votes()).toEqual([{ vote: "up", comment: "Too short", reasons: [] }]);
  });

  test("that the service refuses goes back, and says so", async () => {
    open();
    show(answer);
    refuse = true;
    await click(up());
    expect(pressed()).toEqual(["false", "false"]);
    expect(one(".actions [role=alert]").textContent).toContain(
      "not accepted and is as it was before. This answer cannot be rated.",
    );
    expect(one(".ask")).toBe(null);
  });

  test("that cannot change sides stays on its side", async () => {
    open();
    show({ ...answer, feedback: { vote: "down", comment: "", reasons: [] } });
    refuse = true;
    await click(up());
    expect(pressed()).toEqual(["false", "true"]);
    expect(one(".ask")).toBe(null);
  });

  test("asks for no comment where comments are off", async () => {
    open({ feedback: { ...settings().feedback, comments: false } });
    show(answer);
    await click(up());
    expect(one(".ask")).toBe(null);
    expect(one(".actions .note").textContent).toContain("Thanks");
    await click(down());
    expect(one(".chips")).not.toBe(null);
    expect(one(".ask textarea")).toBe(null);
  });
});

describe("Escape", () => {
  test("closes the innermost thing first", async () => {
    open();
    show(message({ text: "Hello" }));
    await click(button("Bad answer"));
    await press(one(".ask textarea"), "Escape");
    expect(one(".ask")).toBe(null);
    expect(host.escape).not.toHaveBeenCalled();
    await press(one(".composer textarea"), "Escape");
    expect(host.escape).toHaveBeenCalledTimes(1);
  });
});
