// Everything the panel knows, and how each thing that happens changes it. Pure: no clock, no network, no storage.
//
// The messages of the open conversation are a copy of the server's. Three sources write to the copy:
//   - the socket's `ready` and `message` frames, which always replace what is here;
//   - its `delta` frames, which append, each exactly one number after the last; a hole sets `gap`, and whoever runs
//     the socket then asks for a new `ready`;
//   - answers to REST calls, which may have been overtaken by frames, so that they only ever move a message forward.
// What the visitor did and the server has not confirmed is kept beside the copy (`outbox`, `votes`), not in it.
import type { Picked } from "./files";
import type { Attachment, Conversation, Feedback, Message, ServerFrame, Vote } from "./protocol";

/** A question that the server has not confirmed. */
export interface Outgoing {
  id: string;
  conversation: string | null;
  text: string;
  files?: readonly Attachment[];
  createdAt: number;
  /** Why it is still here: on its way, waiting for the network or a limit, or refused. */
  state: "sending" | "waiting" | "refused";
  /** Key of the catalogue that says why it was refused or waits. */
  reason?: string;
  /** Milliseconds of the clock when it is tried again, if that is known. */
  retryAt?: number;
}

/** A vote that is on its way, shown instead of the message's own feedback; or one that was refused, and is not. */
export interface PendingVote {
  vote: Vote;
  comment: string;
  reasons: string[];
  /** When it was given, in milliseconds: of two tabs' words the newer one counts. */
  at: number;
  /** It could not be sent yet, and will be. */
  waits?: boolean;
  /** The code of the service's refusal. */
  failed?: string;
}

export type Link = "idle" | "connecting" | "live" | "polling";

export interface State {
  conversation: string | null;
  conversations: readonly Conversation[];
  messages: readonly Message[];
  /** Cursor of the page before the first message; null: none before it; undefined: not asked yet. */
  earlier: string | null | undefined;
  loading: boolean;
  outbox: readonly Outgoing[];
  /** Files that wait beside the composer. */
  picked: readonly Picked[];
  votes: Readonly<Record<string, PendingVote>>;
  /** Answers that this visitor asked to stop; an empty one of these is still worth a word. */
  stopped: readonly string[];
  /** Some text is missing: a `sync` is due. */
  gap: boolean;
  link: Link;
  online: boolean;
  paused: boolean;
  /** Key of the catalogue for a failure that belongs to no single message. */
  notice: string | null;
}

export const initial: State = {
  conversation: null,
  conversations: [],
  messages: [],
  earlier: null,
  loading: false,
  outbox: [],
  picked: [],
  votes: {},
  stopped: [],
  gap: false,
  link: "idle",
  online: true,
  paused: false,
  notice: null,
};

export type Action =
  | ServerFrame
  | { type: "session"; conversations: Conversation[]; paused: boolean }
  | { type: "opened"; conversation: string | null }
  | { type: "conversations"; conversations: Conversation[] }
  | { type: "page"; conversation: string; messages: Message[]; next: string | null; older: boolean }
  | { type: "merge"; messages: Message[] }
  | { type: "queued"; outgoing: Outgoing }
  | { type: "outgoing"; id: string; change: Partial<Outgoing> }
  | { type: "unqueued"; id: string }
  | { type: "vote"; id: string; pending: PendingVote | null }
  | { type: "voted"; id: string; feedback: Feedback | null }
  | { type: "stopping"; id: string }
  | { type: "forgotten" }
  | { type: "read"; conversation: string }
  | {
      type: "set";
      change: Partial<Pick<State, "link" | "online" | "paused" | "notice" | "loading" | "picked" | "votes">>;
    };

export const isFinal = (message: Message) => message.status !== "pending" && message.status !== "streaming";

/** The answer that is still coming, if one is. */
export const coming = (state: State): Message | undefined =>
  state.messages.find((message) => message.role === "agent" && !isFinal(message));

/** Whether a REST answer's copy knows at least as much as ours, which frames may have moved on since. */
function knowsMore(copy: Message, ours: Message): boolean {
  if (isFinal(copy) !== isFinal(ours)) return isFinal(copy);
  return copy.seq >= ours.seq;
}

/** Puts `message` in the place of its older self, or where its time says. */
function put(messages: readonly Message[], message: Message): Message[] {
  const next = [...messages];
  const at = next.findIndex(({ id }) => id === message.id);
  if (at >= 0) {
    next[at] = message;
    return next;
  }
  const time = Date.parse(message.created_at);
  let place = next.length;
  while (place > 0 && Date.parse(next[place - 1]!.created_at) > time) place -= 1;
  next.splice(place, 0, message);
  return next;
}

function forward(messages: readonly Message[], copies: readonly Message[]): readonly Message[] {
  let next = messages;
  for (const copy of copies) {
    const ours = next.find(({ id }) => id === copy.id);
    if (!ours || knowsMore(copy, ours)) next = put(next, copy);
  }
  return next;
}

/** Drops from the outbox what the server turns out to have. */
function confirmed(state: State): State {
  const outbox = state.outbox.filter(({ id }) => !state.messages.some((message) => message.id === id));
  return outbox.length === state.outbox.length ? state : { ...state, outbox };
}

/** `newest` replaces the end of what we have; earlier pages stay if they join up with it. */
function snapshot(state: State, newest: readonly Message[]): State {
  const first = newest[0];
  const joint = first ? state.messages.findIndex(({ id }) => id === first.id) : -1;
  const before = joint > 0 ? state.messages.slice(0, joint) : [];
  return confirmed({
    ...state,
    messages: [...before, ...newest],
    earlier: before.length ? state.earlier : undefined,
    gap: false,
    loading: false,
  });
}

function append(state: State, frame: Extract<ServerFrame, { type: "delta" }>): State {
  if (frame.conversation !== state.conversation) return state;
  const at = state.messages.findIndex(({ id }) => id === frame.message_id);
  const message = state.messages[at];
  if (!message) return { ...state, gap: true };
  if (frame.seq <= message.seq || isFinal(message)) return state;
  if (frame.seq > message.seq + 1) return { ...state, gap: true };
  const messages = [...state.messages];
  messages[at] = { ...message, status: "streaming", seq: frame.seq, text: message.text + frame.text };
  return { ...state, messages };
}

function noteConversation(list: readonly Conversation[], conversation: Conversation): Conversation[] {
  const others = list.filter(({ id }) => id !== conversation.id);
  return [...others, conversation].sort((a, b) => Date.parse(b.updated_at) - Date.parse(a.updated_at));
}

export function reduce(state: State, action: Action): State {
  switch (action.type) {
    case "ready":
      return action.conversation === state.conversation && action.conversation
        ? snapshot(state, action.messages)
        : state;
    case "message": {
      const { id, conversation, created_at } = action.message;
      const first = state.messages[0];
      const before = first && Date.parse(created_at) < Date.parse(first.created_at);
      // An older one that is not loaded comes with its page, in its place.
      const unloaded = before && state.earlier !== null && !state.messages.some((ours) => ours.id === id);
      return conversation === state.conversation && !unloaded
        ? confirmed({ ...state, messages: put(state.messages, action.message) })
        : state;
    }
    case "delta":
      return append(state, action);
    case "conversation":
      return { ...state, conversations: noteConversation(state.conversations, action.conversation) };
    case "error":
    case "pong":
      return state;

    case "session": {
      const known = action.conversations.some(({ id }) => id === state.conversation);
      const next = { ...state, conversations: action.conversations, paused: action.paused };
      // Another visitor now (the old token was refused): what was open is no longer ours to see.
      return known || !state.conversation ? next : reduce(next, { type: "opened", conversation: null });
    }
    case "opened":
      return {
        ...state,
        conversation: action.conversation,
        messages: [],
        earlier: action.conversation ? undefined : null,
        loading: action.conversation !== null,
        gap: false,
        notice: null,
      };
    case "conversations":
      return { ...state, conversations: action.conversations };
    case "page": {
      if (action.conversation !== state.conversation) return state;
      if (action.older) {
        const known = new Set(state.messages.map(({ id }) => id));
        const older = action.messages.filter(({ id }) => !known.has(id));
        return { ...state, messages: [...older, ...state.messages], earlier: action.next, loading: false };
      }
      const joined = state.messages.some(({ id }) => id === action.messages[0]?.id);
      return confirmed({
        ...state,
        messages: joined ? forward(state.messages, action.messages) : action.messages,
        // Pages before this one may be here already; then their cursor is the one that counts.
        earlier: joined && state.earlier !== undefined ? state.earlier : action.next,
        loading: false,
      });
    }
    case "merge": {
      const ours = action.messages.filter(({ conversation }) => conversation === state.conversation);
      return confirmed({ ...state, messages: forward(state.messages, ours) });
    }

    case "queued":
      return { ...state, outbox: [...state.outbox, action.outgoing], notice: null };
    case "outgoing":
      return {
        ...state,
        outbox: state.outbox.map((item) => (item.id === action.id ? { ...item, ...action.change } : item)),
      };
    case "unqueued":
      return { ...state, outbox: state.outbox.filter(({ id }) => id !== action.id) };

    case "vote": {
      const { [action.id]: _, ...votes } = state.votes;
      return { ...state, votes: action.pending ? { ...votes, [action.id]: action.pending } : votes };
    }
    case "voted":
      return {
        ...state,
        messages: state.messages.map((message) =>
          message.id === action.id ? { ...message, feedback: action.feedback } : message,
        ),
      };
    case "forgotten":
      return { ...initial, online: state.online, paused: state.paused };
    case "stopping":
      return { ...state, stopped: [...state.stopped, action.id] };
    case "read":
      return {
        ...state,
        conversations: state.conversations.map((conversation) =>
          conversation.id === action.conversation ? { ...conversation, unread: 0 } : conversation,
        ),
      };
    case "set":
      return { ...state, ...action.change };
  }
}
