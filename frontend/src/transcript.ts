// The open conversation as a text file, for the visitor to keep.
import type { Message } from "./protocol";
import type { Text } from "./text";

/** `name`: the assistant's. Empty messages (an answer that a person took over, say) are left out. */
export function transcript(messages: readonly Message[], text: Text, name: string, locale: string): string {
  const time = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
  const who = { visitor: text("you"), agent: name, human: text("person"), system: "" };
  const parts = messages.flatMap((message) => {
    if (!message.text) return [];
    const head = [who[message.role], time.format(new Date(message.created_at))].filter(Boolean).join(", ");
    const files = (message.attachments ?? []).map(({ name }) => `[${name}]`);
    const sources = message.citations.map(({ title, url }, i) => `[${i + 1}] ${title} ${url}`);
    return [[head, message.text, ...files, ...sources].join("\n")];
  });
  return `${[name, ...parts].join("\n\n")}\n`;
}

export function download(name: string, contents: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([contents], { type: "text/plain" }));
  link.download = name;
  link.click();
  // Not before the browser has taken it.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
