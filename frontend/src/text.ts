// Every word of the interface, in English. Other languages are catalogues of the same names (chatwidget/catalogues), of
// which the panel's page brings one; what it lacks is said in English, and a widget's own texts (Settings.texts) win
// over both. `{name}` is replaced by a value. A catalogue also holds, behind "=", what a new widget says until its
// operator writes something better: a title in English that nobody chose is not what a German visitor should read.

export const en = {
  title: "",
  subtitle: "",
  greeting: "Hi there! How can I help?",
  placeholder: "Write a message…",
  disclaimer: "",

  send: "Send message",
  attach: "Attach files",
  files: "Files",
  file_remove: "Remove {name}",
  uploading: "Uploading…",
  file_size: "Too large: at most {size}",
  file_type: "Such files cannot be sent",
  file_count: "At most {count} files",
  file_failed: "Could not be uploaded",
  files_gone: "Its files could not be sent. Please attach them again.",
  stop: "Stop answer",
  close: "Close chat",
  new_conversation: "New conversation",
  conversations: "Conversations",
  back: "Back to the chat",
  untitled: "Conversation",
  menu: "More",
  sound: "Sound for answers",
  download: "Download this chat",
  erase: "Delete my data",
  erase_sure: "Delete all your chats and ratings? This cannot be undone.",
  erase_all: "Delete everything",
  erased: "Everything was deleted.",
  cancel: "Cancel",
  unread: "{count} unread",
  log: "Conversation with {name}",
  earlier: "Show earlier messages",
  loading: "Loading…",
  latest: "Jump to latest",
  starters: "Suggestions",

  you: "You",
  person: "Team",
  human: "A person is answering",
  typing: "{name} is typing",
  still_working: "Still working on it…",
  works_long: "This takes a while. You can leave; the answer will be here.",
  answered: "{name} says: {text}",
  answer_stopped: "You stopped this answer.",
  stopped: "This answer was stopped.",
  retry: "Try again",
  discard: "Discard",
  sources: "Sources",
  leads_to: "leads to {where}",
  code: "Code",
  table: "Table",
  image: "Image",
  done: "Done",
  to_do: "To do",
  copy: "Copy",
  copy_answer: "Copy answer",
  copied: "Copied",

  rate: "Rate this answer",
  up: "Good answer",
  down: "Bad answer",
  comment_up: "What was good about it?",
  comment_down: "What was wrong with it?",
  comment_optional: "Optional",
  comment_send: "Send feedback",
  comment_close: "No comment",
  comment_more: "Say more",
  thanks: "Thanks for your feedback.",
  taken_back: "Your rating was removed.",
  taken_back_here: "Your rating was removed here, but this agent's vendor may keep its copy.",
  vote_failed: "Your rating was not accepted and is as it was before. {reason}",
  vote_waits: "Kept here, and sent when you are back online.",
  vote_waits_here: "Sent when you are back online, if this page stays open.",
  feedback_not_allowed: "This answer cannot be rated.",
  feedback_invalid: "Please change your reasons or comment.",
  not_found: "It is no longer there.",

  reconnecting: "Reconnecting…",
  offline: "You are offline. Messages are sent when you are back.",
  waiting: "Not sent yet.",
  waiting_seconds: "Sending again in {seconds} s",
  paused: "This chat is taking a break. Please come back later.",

  agent_unavailable: "The assistant cannot be reached right now.",
  agent_timeout: "The assistant took too long to answer.",
  agent_rejected: "The assistant did not accept this message.",
  agent_misconfigured: "The assistant is not set up correctly. The site's team must fix it.",
  interrupted: "This answer was cut off.",
  answer_failed: "Something went wrong with this answer.",

  rate_limited: "That was a lot of messages in a short time.",
  busy: "Many people are asking right now.",
  answer_in_progress: "Waiting for the answer before this one.",
  payload_too_large: "This message is too long.",
  invalid: "This message could not be sent as it is.",
  too_long: "{count} characters too many",
  widget_paused: "This chat is taking a break.",
  unreachable: "The chat cannot be reached right now.",
  refused: "This could not be sent.",
} as const;

export type TextKey = keyof typeof en;
/** A phrase of the operator's, or one that was left as it is. */
type Phrase = `=${string}`;
export type Catalogue = Partial<Record<TextKey | Phrase, string>>;
/** Says `key` in the visitor's language. */
export type Text = (key: TextKey | Phrase, values?: Record<string, string | number>) => string;

/** Says things in the `words` of `locale`, which also writes numbers, or else in English; `own` wins. */
export function texts(locale: string, own: Readonly<Record<string, string>>, words: Catalogue = {}): Text {
  return (key, values = {}) => {
    const said = own[key] || words[key] || (en[key as TextKey] ?? key.slice(1));
    return (words[`=${said}`] || said).replace(/\{(\w+)\}/g, (whole, name) =>
      (values[name] ?? whole).toLocaleString(locale),
    );
  };
}

export const isKey = (code: string): code is TextKey => Object.hasOwn(en, code);

/** The words for an error code, or for `otherwise` when the code is one this version does not know. */
export const wordsFor = (code: string | undefined, otherwise: TextKey): TextKey =>
  code !== undefined && isKey(code) ? code : otherwise;
