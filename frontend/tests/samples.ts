// Makers of protocol objects with everything that a test does not care about filled in.
import type { Conversation, Message, Settings } from "../src/protocol";

let made = 0;

export const CONVERSATION = "c1";

export function message(change: Partial<Message> = {}): Message {
  made += 1;
  return {
    id: `m${made}`,
    conversation: CONVERSATION,
    role: "agent",
    text: "",
    status: "completed",
    seq: 0,
    created_at: new Date(1_700_000_000_000 + made * 1000).toISOString(),
    completed_at: null,
    citations: [],
    feedback: null,
    error: null,
    rateable: true,
    ...change,
  };
}

export function conversation(change: Partial<Conversation> = {}): Conversation {
  const time = "2026-01-01T00:00:00Z";
  return {
    id: CONVERSATION,
    title: "",
    mode: "agent",
    created_at: time,
    updated_at: time,
    unread: 0,
    ...change,
  };
}

export function settings(change: Partial<Settings> = {}): Settings {
  return {
    key: "pk_test",
    name: "Acme",
    paused: false,
    look: { color: "#4f46e5", position: "right", theme: "auto" },
    locale: "en",
    texts: {},
    starters: [],
    feedback: {
      enabled: true,
      comments: true,
      comment_limit: 2000,
      clearable: true,
      reasons: { up: [], down: [{ key: "wrong", label: "Wrong" }] },
    },
    agent: { streams: true, stops: true },
    attachments: null,
    max_length: 4000,
    ...change,
  };
}
