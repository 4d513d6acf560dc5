// The visitor protocol, version 1, as types: what the service sends and what it is sent. Nothing here runs.

export type Vote = "up" | "down" | null;
export type Role = "visitor" | "agent" | "human" | "system";
export type Status = "pending" | "streaming" | "completed" | "failed" | "stopped";

export interface Conversation {
  id: string;
  title: string;
  mode: "agent" | "human";
  created_at: string;
  updated_at: string;
  unread: number;
}

export interface Feedback {
  vote: Vote;
  comment: string;
  reasons: string[];
  updated_at?: string;
  delivery?: "pending" | "delivered" | "unsupported" | "failed" | "local";
}

export interface Citation {
  title: string;
  url: string;
}

/** A file of a question; its size is in bytes. */
export interface Attachment {
  id: string;
  name: string;
  content_type: string;
  size: number;
}

export interface Message {
  id: string;
  conversation: string;
  role: Role;
  /** Markdown for `agent` and `human`. */
  text: string;
  status: Status;
  /** How many deltas `text` holds so far. */
  seq: number;
  created_at: string;
  completed_at: string | null;
  citations: Citation[];
  /** Pages that the agent offers to open, as buttons. */
  links?: Citation[];
  attachments?: Attachment[];
  feedback: Feedback | null;
  error: { code: string; message: string } | null;
  rateable: boolean;
}

export interface Reason {
  key: string;
  label: string;
}

/** What the operator chose for this widget; comes with the panel's page and with every session. */
export interface Settings {
  key: string;
  name: string;
  paused: boolean;
  look: { color: string; position: string; theme: string };
  locale: string;
  /** Overrides for any key of the catalogue in text.ts. */
  texts: Record<string, string>;
  starters: string[];
  feedback: {
    enabled: boolean;
    comments: boolean;
    comment_limit: number;
    /** Whether the agent can be told that a vote was taken back. */
    clearable: boolean;
    reasons: { up: Reason[]; down: Reason[] };
  };
  agent: { streams: boolean; stops: boolean };
  /** What files may be given; null: none. */
  attachments: { max_bytes: number; max_count: number; types: string[] } | null;
  max_length: number;
}

export interface SessionAnswer {
  token: string;
  visitor: { id: string };
  widget: Settings;
  conversations: Conversation[];
}

export interface Results<T> {
  results: T[];
  next: string | null;
}

export type ServerFrame =
  | { type: "ready"; conversation: string | null; messages: Message[] }
  | { type: "message"; message: Message }
  | { type: "delta"; conversation: string; message_id: string; seq: number; text: string }
  | { type: "conversation"; conversation: Conversation }
  | { type: "error"; code: string; detail: string }
  | { type: "pong" };

export type ClientFrame =
  | { type: "hello"; token: string; conversation: string | null }
  | { type: "sync"; conversation: string }
  | { type: "ping" };
