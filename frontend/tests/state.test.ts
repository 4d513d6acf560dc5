import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Message, ServerFrame } from "../src/protocol";
import { type Action, coming, initial, reduce, type State } from "../src/state";
import { CONVERSATION, conversation, message } from "./samples";

const open: State = { ...initial, conversation: CONVERSATION };
const apply = (state: State, ...actions: Action[]) => actions.reduce(reduce, state);
const ready = (messages: Message[]): ServerFrame => ({ type: "ready", conversation: CONVERSATION, messages });
const delta = (id: string, seq: number, text: string): ServerFrame => ({
  type: "delta",
  conversation: CONVERSATION,
  message_id: id,
  seq,
  text,
});

describe("deltas", () => {
  const answer = message({ status: "pending" });
  const start = apply(open, ready([answer]));

  test("append in order and make the answer a streaming one", () => {
    const state = apply(start, delta(answer.id, 1, "Hel"), delta(answer.id, 2, "lo"));
    expect(state.messages[0]).toMatchObject({ text: "Hello", seq: 2, status: "streaming" });
  });

  test("that are already here change nothing", () => {
    const state = apply(start, delta(answer.id, 1, "Hel"));
    expect(reduce(state, delta(answer.id, 1, "Hel"))).toBe(state);
  });

  test("after a hole are not appended, and a sync is due", () => {
    const state = apply(start, delta(answer.id, 2, "lo"));
    expect(state).toMatchObject({ gap: true, messages: [{ text: "" }] });
    expect(apply(state, ready([{ ...answer, text: "Hello", seq: 2 }]))).toMatchObject({ gap: false });
  });

  test("of an unknown message make a sync due", () => {
    expect(reduce(start, delta("unknown", 1, "x")).gap).toBe(true);
  });

  test("of another conversation are none of our business", () => {
    expect(reduce(start, { ...delta("unknown", 1, "x"), conversation: "other" } as ServerFrame)).toBe(start);
  });

  test("that come late cannot reopen a finished answer", () => {
    const state = apply(start, {
      type: "message",
      message: { ...answer, status: "stopped", text: "Hel", seq: 1 },
    });
    expect(reduce(state, delta(answer.id, 2, "lo"))).toBe(state);
  });
});

describe("snapshots", () => {
  test("replace what is here, even by a lower seq", () => {
    const ahead = message({ status: "streaming", text: "Hello wor", seq: 5 });
    const state = apply(open, ready([ahead]), ready([{ ...ahead, text: "Hello", seq: 3 }]));
    expect(state.messages[0]).toMatchObject({ text: "Hello", seq: 3 });
  });

  test("keep earlier pages that they join up with", () => {
    const [a, b, c] = [message(), message(), message()];
    const state = apply(
      open,
      ready([b]),
      { type: "page", conversation: CONVERSATION, messages: [a], next: null, older: true },
      ready([b, c]),
    );
    expect(state.messages.map(({ id }) => id)).toEqual([a.id, b.id, c.id]);
    expect(state.earlier).toBe(null);
  });

  test("are not joined by an older message whose page is not here", () => {
    const [a, b, c] = [message(), message(), message()];
    const page = (messages: Message[]): Action => ({
      type: "page",
      conversation: CONVERSATION,
      messages,
      next: null,
      older: true,
    });
    const state = apply(open, ready([c]), { type: "message", message: a }, page([a, b]));
    expect(state.messages.map(({ id }) => id)).toEqual([a.id, b.id, c.id]);
  });

  test("drop earlier pages that a hole divides them from", () => {
    const state = apply(open, ready([message()]), ready([message()]));
    expect(state.messages).toHaveLength(1);
    expect(state.earlier).toBe(undefined);
  });

  test("of a conversation that is no longer open are ignored", () => {
    expect(reduce(open, { type: "ready", conversation: "other", messages: [message()] })).toBe(open);
  });
});

describe("answers to REST calls", () => {
  test("that frames have overtaken do not take anything back", () => {
    const answer = message({ status: "pending" });
    const state = apply(open, ready([answer]), delta(answer.id, 1, "Hello"));
    const late = apply(state, { type: "merge", messages: [answer] });
    expect(late.messages[0]).toMatchObject({ text: "Hello", seq: 1 });
  });

  test("finish an answer whose last frame was missed", () => {
    const answer = message({ status: "streaming", text: "Hel", seq: 1 });
    const state = apply(open, ready([answer]), {
      type: "page",
      conversation: CONVERSATION,
      messages: [{ ...answer, status: "completed", text: "Hello", seq: 2 }],
      next: null,
      older: false,
    });
    expect(state.messages[0]).toMatchObject({ status: "completed", text: "Hello" });
    expect(coming(state)).toBe(undefined);
  });

  test("find their place by time, not by when they arrive", () => {
    const [question, answer, reply] = [message({ role: "visitor" }), message(), message({ role: "human" })];
    const state = apply(
      open,
      { type: "message", message: reply },
      { type: "merge", messages: [question, answer] },
    );
    expect(state.messages.map(({ id }) => id)).toEqual([question.id, answer.id, reply.id]);
  });
});

describe("the outbox", () => {
  const item = { id: "q1", conversation: CONVERSATION, text: "Hi", createdAt: 0, state: "waiting" } as const;

  test("lets go of a question once any source shows it arrived", () => {
    const question = message({ id: "q1", role: "visitor" });
    const queued = apply(open, { type: "queued", outgoing: item });
    expect(queued.outbox).toHaveLength(1);
    expect(apply(queued, { type: "message", message: question }).outbox).toEqual([]);
    expect(apply(queued, ready([question])).outbox).toEqual([]);
    expect(apply(queued, { type: "merge", messages: [question] }).outbox).toEqual([]);
  });
});

test("another visitor's session closes the conversation that was open", () => {
  const state = apply(open, ready([message()]), { type: "session", conversations: [], paused: false });
  expect(state).toMatchObject({ conversation: null, messages: [] });
});

test("conversations are newest first, and know their unread count", () => {
  const older = conversation({ id: "a", updated_at: "2026-01-01T00:00:00Z" });
  const newer = conversation({ id: "b", updated_at: "2026-01-01T00:00:00.5Z", unread: 2 });
  const state = apply(
    open,
    { type: "conversation", conversation: older },
    { type: "conversation", conversation: newer },
  );
  expect(state.conversations.map(({ id }) => id)).toEqual(["b", "a"]);
  expect(reduce(state, { type: "read", conversation: "b" }).conversations[0]!.unread).toBe(0);
});

/**
 * A server with one conversation and a client on an unreliable line. Frames reach the client in order; some deltas are
 * dropped (as the channel layer may), the line is cut and comes back, REST answers arrive long after they were read,
 * and another tab writes as well. Once everything has been delivered, the client has what the server has.
 */
class World {
  messages: Message[] = [];
  client: State = open;
  line: ServerFrame[] = [];
  connected = true;
  syncing = false;
  late: Message[][] = [];
  time = 0;

  publish(frame: ServerFrame) {
    if (this.connected) this.line.push(frame);
  }
  snapshot() {
    return structuredClone(this.messages);
  }
  put(message: Message) {
    const at = this.messages.findIndex(({ id }) => id === message.id);
    if (at < 0) this.messages.push(message);
    else this.messages[at] = message;
    this.publish({ type: "message", message: structuredClone(message) });
  }
  ask(own: boolean) {
    if (this.messages.some(({ status }) => status === "pending" || status === "streaming")) return;
    this.time += 1;
    const created_at = new Date(this.time * 1000).toISOString();
    const question = message({ id: `q${this.time}`, role: "visitor", created_at });
    const answer = message({ id: `a${this.time}`, status: "pending", created_at });
    this.put(question);
    this.put(answer);
    if (own) this.late.push(structuredClone([question, answer]));
  }
  current() {
    return this.messages.find(({ status }) => status === "pending" || status === "streaming");
  }
  say(text: string) {
    const answer = this.current();
    if (!answer) return;
    Object.assign(answer, { text: answer.text + text, seq: answer.seq + 1, status: "streaming" });
    this.publish(delta(answer.id, answer.seq, text));
  }
  rewrite(text: string) {
    const answer = this.current();
    if (answer) this.put({ ...answer, text, seq: answer.seq + 1, status: "streaming" });
  }
  finish(status: "completed" | "failed" | "stopped") {
    const answer = this.current();
    if (answer) this.put({ ...answer, status });
  }
  take(frame: ServerFrame) {
    this.client = reduce(this.client, frame);
    if (frame.type === "ready") this.syncing = false;
    if (this.client.gap && !this.syncing && this.connected) {
      this.syncing = true;
      this.line.push(ready(this.snapshot()));
    }
  }
  deliver(count: number) {
    for (const frame of this.line.splice(0, count)) this.take(frame);
  }
  drop() {
    const at = this.line.findIndex(({ type }) => type === "delta");
    if (at >= 0) this.line.splice(at, 1);
  }
  cut() {
    this.connected = false;
    this.syncing = false;
    this.line = [];
  }
  reconnect() {
    if (this.connected) return;
    this.connected = true;
    this.line = [ready(this.snapshot())];
  }
  answerRest() {
    const pair = this.late.shift();
    if (pair) this.client = reduce(this.client, { type: "merge", messages: pair });
  }
  readPage() {
    this.late.push(this.snapshot());
  }
}

const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("say" as const),
      text: fc.string({ minLength: 1, maxLength: 4 }),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant("deliver" as const), count: fc.integer({ min: 1, max: 5 }) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("ask" as const), own: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("finish" as const),
      status: fc.constantFrom("completed" as const, "failed" as const, "stopped" as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("rewrite" as const), text: fc.string({ maxLength: 4 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "drop" as const,
        "cut" as const,
        "reconnect" as const,
        "answerRest" as const,
        "readPage" as const,
      ),
    }),
  },
);

test("after any interleaving of deltas, cuts, gaps, late answers and a second tab, the text is the server's", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const world = new World();
      for (const each of steps) {
        if (each.do === "say") world.say(each.text);
        else if (each.do === "deliver") world.deliver(each.count);
        else if (each.do === "ask") world.ask(each.own);
        else if (each.do === "finish") world.finish(each.status);
        else if (each.do === "rewrite") world.rewrite(each.text);
        else world[each.do]();
      }
      while (world.late.length) world.answerRest();
      world.reconnect();
      world.finish("completed");
      world.deliver(Number.POSITIVE_INFINITY);
      while (world.line.length) world.deliver(1);
      expect(world.client.messages).toEqual(world.messages);
    }),
    { numRuns: 500 },
  );
});
