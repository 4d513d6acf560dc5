// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Chat } from "../src/chat";
import type { Message } from "../src/protocol";
import { keep } from "../src/storage";
import { FakeSocket, fakeSockets } from "./fakes";
import { CONVERSATION, conversation, message, settings } from "./samples";

interface Call {
  method: string;
  path: string;
  body: Record<string, unknown>;
}
type Answer = { status: number; body?: unknown } | "no network";

let calls: Call[];
/** What the service answers; a test overrides what it is about. */
let answers: Record<string, (call: Call) => Answer>;
let chat: Chat;

const of = (method: string, end: string) =>
  calls.filter((call) => call.method === method && call.path.endsWith(end));
const settle = () => vi.advanceTimersByTimeAsync(0);

function accepted({ body }: Call): Answer {
  const question = message({ id: body.id as string, role: "visitor", text: body.text as string });
  return { status: 201, body: { question, answer: message({ id: "a1", status: "pending" }) } };
}

beforeEach(() => {
  vi.useFakeTimers();
  fakeSockets();
  localStorage.clear();
  calls = [];
  answers = {
    sessions: () => ({
      status: 201,
      body: { token: "tok", visitor: { id: "v" }, widget: settings(), conversations: [] },
    }),
    conversations: ({ method }) =>
      method === "POST"
        ? { status: 201, body: conversation() }
        : { status: 200, body: { results: [conversation()], next: null } },
    messages: accepted,
    feedback: ({ body }) => ({ status: 200, body: { ...body, delivery: "pending" } }),
  };
  vi.stubGlobal("fetch", async (url: string, init: RequestInit) => {
    const call = {
      method: init.method!,
      path: url.split("/api/v1/")[1]!,
      body: JSON.parse(String(init.body ?? "{}")),
    };
    calls.push(call);
    const answer = answers[call.path.split("/").at(-1)!]?.(call) ?? { status: 204 };
    if (answer === "no network") throw new TypeError("Failed to fetch");
    return new Response(answer.body === undefined ? null : JSON.stringify(answer.body), {
      status: answer.status,
    });
  });
  chat = make();
});
afterEach(() => {
  chat.dispatch({ type: "opened", conversation: null });
  vi.clearAllTimers();
  vi.useRealTimers();
});

function make(): Chat {
  const page = () => ({ url: "https://host.test/", title: "Host", referrer: "" });
  const made = new Chat({
    base: "https://chat.test/",
    settings: settings(),
    locale: "en",
    kept: keep("pk_test"),
    page,
  });
  made.start();
  return made;
}

test("a new visitor causes no request until they write", async () => {
  chat.show(true);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(calls).toEqual([]);
  expect(FakeSocket.all).toEqual([]);
});

test("the first question opens a session, a socket and a conversation", async () => {
  chat.send("Hi");
  expect(chat.state.outbox).toMatchObject([{ text: "Hi", state: "sending" }]);
  await settle();
  expect(calls.map(({ path }) => path)).toEqual([
    "widgets/pk_test/sessions",
    "conversations",
    `conversations/${CONVERSATION}/messages`,
  ]);
  expect(FakeSocket.last.url).toBe("wss://chat.test/ws/v1/");
  expect(chat.state.messages.map(({ text, status }) => [text, status])).toEqual([
    ["Hi", "completed"],
    ["", "pending"],
  ]);
  expect(chat.state.outbox).toEqual([]);
});

test("every question has an id of its own, a UUID", () => {
  chat.send("Hi");
  chat.send("Hi");
  const ids = chat.state.outbox.map(({ id }) => id);
  expect(new Set(ids).size).toBe(2);
  for (const id of ids) expect(id).toMatch(/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/);
});

describe("a question that got no answer", () => {
  test("is sent again with the same id until it gets one", async () => {
    let fails = 3;
    answers.messages = (call) => (fails-- > 0 ? "no network" : accepted(call));
    chat.send("Hi");
    await vi.advanceTimersByTimeAsync(60_000);
    const posts = of("POST", "/messages");
    expect(posts).toHaveLength(4);
    expect(new Set(posts.map(({ body }) => body.id)).size).toBe(1);
    expect(chat.state.outbox).toEqual([]);
  });

  test("survives a reload", async () => {
    answers.messages = () => "no network";
    chat.send("Hi");
    await settle();
    const id = chat.state.outbox[0]!.id;
    answers.messages = accepted;
    calls = [];
    const again = make();
    await settle();
    await settle();
    expect(of("POST", "/messages").map(({ body }) => body.id)).toEqual([id]);
    expect(again.state.outbox).toEqual([]);
  });

  test("is not lost by what another tab keeps", async () => {
    answers.messages = () => "no network";
    chat.send("Hi");
    const other = make();
    other.send("There");
    await settle();
    expect(Object.values(keep("pk_test").all<{ text: string }>("outbox")).map(({ text }) => text)).toEqual([
      "Hi",
      "There",
    ]);
  });

  test("is sent by one of two tabs", async () => {
    answers.messages = () => "no network";
    chat.send("Hi");
    await settle();
    const other = make();
    expect(other.state.outbox).toHaveLength(1);
    const stored: unknown[] = [];
    answers.messages = (call) => {
      stored.push(call.body.id);
      return accepted(call);
    };
    await vi.advanceTimersByTimeAsync(20_000);
    expect(stored).toHaveLength(1);
    expect([...chat.state.outbox, ...other.state.outbox]).toEqual([]);
  });

  test("waits as long as a limit says", async () => {
    let limited = true;
    answers.messages = (call) =>
      limited ? { status: 429, body: { code: "rate_limited", retry_after: 12 } } : accepted(call);
    chat.send("Hi");
    await settle();
    expect(chat.state.outbox).toMatchObject([{ state: "waiting", reason: "rate_limited" }]);
    limited = false;
    await vi.advanceTimersByTimeAsync(11_000);
    expect(chat.state.outbox).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1_500);
    expect(chat.state.outbox).toEqual([]);
  });

  test("waits and says so while many ask", async () => {
    answers.messages = () => ({
      status: 429,
      body: { code: "rate_limited", reason: "busy", retry_after: 5 },
    });
    chat.send("Hi");
    await settle();
    expect(chat.state.outbox).toMatchObject([{ state: "waiting", reason: "busy" }]);
    answers.messages = accepted;
    await vi.advanceTimersByTimeAsync(5_500);
    expect(chat.state.outbox).toEqual([]);
  });

  test("is the visitor's to decide about when it was refused", async () => {
    answers.messages = () => ({ status: 422, body: { code: "invalid" } });
    chat.send("Hi");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(of("POST", "/messages")).toHaveLength(1);
    const { id } = chat.state.outbox[0]!;
    expect(chat.state.outbox).toMatchObject([{ state: "refused", reason: "invalid" }]);
    chat.discard(id);
    expect(chat.state.outbox).toEqual([]);
  });

  test("of a paused widget says so", async () => {
    answers.sessions = () => ({ status: 403, body: { code: "widget_paused" } });
    chat.send("Hi");
    await settle();
    expect(chat.state).toMatchObject({
      paused: true,
      outbox: [{ state: "refused", reason: "widget_paused" }],
    });
  });

  test("starts a new conversation when its own is gone", async () => {
    chat.send("Hi");
    await settle();
    chat.dispatch({ type: "message", message: message({ id: "a1", status: "completed" }) });
    let gone = true;
    answers.messages = (call) => {
      if (!gone) return accepted(call);
      gone = false;
      return { status: 404, body: { code: "not_found" } };
    };
    chat.send("Again");
    await vi.advanceTimersByTimeAsync(100);
    expect(of("POST", "conversations")).toHaveLength(2);
    expect(chat.state.outbox).toEqual([]);
  });
});

test("an expired token is exchanged, and the call made again", async () => {
  let expired = true;
  answers.conversations = () => {
    if (!expired) return { status: 201, body: conversation() };
    expired = false;
    return { status: 401, body: { code: "token_expired" } };
  };
  chat.send("Hi");
  await settle();
  expect(of("POST", "sessions")).toHaveLength(2);
  expect(of("POST", "sessions")[1]!.body.token).toBe("tok");
  expect(chat.state.outbox).toEqual([]);
});

describe("over the socket", () => {
  beforeEach(async () => {
    chat.send("Hi");
    await settle();
    FakeSocket.last.accept();
    FakeSocket.last.say({ type: "ready", conversation: CONVERSATION, messages: chat.state.messages });
  });
  const say = (seq: number, text: string) =>
    FakeSocket.last.say({ type: "delta", conversation: CONVERSATION, message_id: "a1", seq, text });

  test("an answer streams", () => {
    say(1, "Hel");
    say(2, "lo");
    expect(chat.state.messages[1]!.text).toBe("Hello");
  });

  test("a gap asks for a snapshot, once", () => {
    say(3, "x");
    say(4, "y");
    expect(FakeSocket.last.sent.filter(({ type }) => type === "sync")).toEqual([
      { type: "sync", conversation: CONVERSATION },
    ]);
  });

  test("a ready for what was open before asks for what is open now", () => {
    chat.newConversation();
    chat.dispatch({ type: "opened", conversation: "c2" });
    FakeSocket.last.say({ type: "ready", conversation: CONVERSATION, messages: [] });
    expect(FakeSocket.last.sent.at(-1)).toEqual({ type: "sync", conversation: "c2" });
  });
});

describe("without a WebSocket", () => {
  const answer = message({ id: "a1", status: "pending" });
  let stored: Message[];

  beforeEach(async () => {
    stored = [message({ id: "q", role: "visitor" }), answer];
    const post = answers.messages!;
    answers.messages = (call) =>
      call.method === "GET" ? { status: 200, body: { results: stored, next: null } } : post(call);
    chat.show(true);
    chat.send("Hi");
    await settle();
    for (let i = 0; i < 3; i += 1) {
      FakeSocket.last.end();
      await vi.advanceTimersByTimeAsync(5_000);
    }
  });

  test("the answer is read every second and a half, and the socket tried again meanwhile", async () => {
    expect(chat.state.link).toBe("polling");
    calls = [];
    const sockets = FakeSocket.all.length;
    await vi.advanceTimersByTimeAsync(15_000);
    expect(of("GET", "/messages").length).toBeGreaterThanOrEqual(9);
    FakeSocket.last.end();
    await vi.advanceTimersByTimeAsync(30_000);
    expect(FakeSocket.all.length).toBeGreaterThan(sockets);
    stored = [stored[0]!, { ...answer, status: "completed", text: "Hello", seq: 1 }];
    await vi.advanceTimersByTimeAsync(1_600);
    expect(chat.state.messages[1]).toMatchObject({ status: "completed", text: "Hello" });
  });

  test("polling ends when the socket works", async () => {
    FakeSocket.last.accept();
    FakeSocket.last.say({ type: "ready", conversation: CONVERSATION, messages: stored });
    calls = [];
    await vi.advanceTimersByTimeAsync(10_000);
    expect(of("GET", "/messages")).toEqual([]);
    expect(chat.state.link).toBe("live");
  });
});

describe("a vote", () => {
  const up = { vote: "up" as const, comment: "", reasons: [] };
  const down = { ...up, vote: "down" as const };

  beforeEach(async () => {
    chat.send("Hi");
    await settle();
    chat.dispatch({ type: "message", message: message({ id: "a1", text: "Hello" }) });
  });
  const feedback = () => chat.state.messages.find(({ id }) => id === "a1")!.feedback;

  test("is shown at once, and is the message's own once saved", async () => {
    chat.vote("a1", up);
    expect(chat.state.votes.a1).toMatchObject(up);
    await settle();
    expect(chat.state.votes.a1).toBe(undefined);
    expect(feedback()).toMatchObject({ vote: "up", delivery: "pending" });
  });

  test("that changes while it is saved ends as the visitor's last word, one request at a time", async () => {
    chat.vote("a1", up);
    chat.vote("a1", down);
    chat.vote("a1", up);
    chat.vote("a1", { ...down, comment: "No" });
    await settle();
    expect(of("PUT", "/feedback").map(({ body }) => body.vote)).toEqual(["up", "down"]);
    expect(feedback()).toMatchObject({ vote: "down", comment: "No" });
  });

  test("that is refused is taken back, visibly", async () => {
    answers.feedback = () => ({ status: 409, body: { code: "feedback_not_allowed" } });
    chat.vote("a1", up);
    await settle();
    expect(chat.state.votes.a1).toMatchObject({ failed: "feedback_not_allowed" });
    expect(keep("pk_test").all("vote")).toEqual({});
    await vi.advanceTimersByTimeAsync(60_000);
    expect(of("PUT", "/feedback")).toHaveLength(1);
  });

  test("that is refused while the visitor changes their mind does not take that along", async () => {
    const saved = answers.feedback!;
    answers.feedback = (call) =>
      call.body.vote === "up" ? { status: 422, body: { code: "invalid" } } : saved(call);
    chat.vote("a1", up);
    chat.vote("a1", down);
    await settle();
    expect(feedback()).toMatchObject({ vote: "down" });
    expect(chat.state.votes.a1).toBe(undefined);
  });

  test("survives a reload without a network, as the last word, and is sent then", async () => {
    answers.feedback = () => "no network";
    chat.vote("a1", up);
    chat.vote("a1", { ...down, comment: "No" });
    await settle();
    expect(chat.state.votes.a1).toMatchObject({ vote: "down", waits: true });
    vi.clearAllTimers();
    calls = [];
    answers.feedback = ({ body }) => ({ status: 200, body });
    const again = make();
    expect(again.state.votes.a1).toMatchObject({ vote: "down" });
    await settle();
    expect(of("PUT", "/feedback").map(({ body }) => body)).toEqual([{ ...down, comment: "No" }]);
    expect(again.state.votes).toEqual({});
    expect(keep("pk_test").all("vote")).toEqual({});
  });

  test("waits while the widget is paused, and as long as a limit says", async () => {
    const saved = answers.feedback!;
    const refusals = [
      { status: 403, body: { code: "widget_paused" } },
      { status: 429, body: { code: "rate_limited", retry_after: 90 } },
    ];
    answers.feedback = (call) => refusals.shift() ?? saved(call);
    chat.vote("a1", up);
    await vi.advanceTimersByTimeAsync(61_000);
    expect(refusals).toEqual([]);
    await vi.advanceTimersByTimeAsync(85_000);
    expect(feedback()?.vote).not.toBe("up");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(feedback()).toMatchObject({ vote: "up" });
  });

  test("that another tab gave later is this tab's word, too", async () => {
    answers.feedback = () => "no network";
    chat.vote("a1", up);
    await settle();
    const name = "chatwidget:pk_test:vote:a1";
    localStorage.setItem(name, JSON.stringify({ ...down, at: Date.now() + 5 }));
    dispatchEvent(new StorageEvent("storage", { key: name }));
    expect(chat.state.votes.a1).toMatchObject({ vote: "down" });
    localStorage.removeItem(name);
    dispatchEvent(new StorageEvent("storage", { key: name }));
    expect(chat.state.votes).toEqual({});
  });

  test("is not given up at the first hiccup of the network", async () => {
    let fails = 2;
    const saved = answers.feedback!;
    answers.feedback = (call) => (fails-- > 0 ? "no network" : saved(call));
    chat.vote("a1", up);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(feedback()).toMatchObject({ vote: "up" });
  });
});

test("what the visitor sees is marked as read; what they do not see is not", async () => {
  chat.send("Hi");
  await settle();
  chat.dispatch({ type: "conversation", conversation: conversation({ unread: 1 }) });
  await settle();
  expect(of("POST", "/read")).toEqual([]);
  chat.show(true);
  await settle();
  expect(of("POST", "/read")).toHaveLength(1);
  expect(chat.state.conversations[0]!.unread).toBe(0);
});

test("a draft is kept", () => {
  chat.draft = "half a thought";
  expect(make().draft).toBe("half a thought");
});
