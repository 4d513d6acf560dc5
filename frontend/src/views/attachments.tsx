import { useEffect, useRef } from "preact/hooks";
import type { Picked } from "../files";
import { wordsFor } from "../text";
import { useSurroundings } from "./context";
import { Icon, IconButton } from "./icons";

const KILO = 1024;

/** "1.2 MB", as the visitor writes numbers. */
function size(bytes: number): string {
  const large = bytes >= KILO * KILO;
  return new Intl.NumberFormat(document.documentElement.lang, {
    style: "unit",
    unit: large ? "megabyte" : "kilobyte",
    maximumFractionDigits: large ? 1 : 0,
  }).format(Math.max(1, bytes / KILO) / (large ? KILO : 1));
}

/** The files of a question. */
export function Attachments({ files }: { files: readonly { name: string; size: number }[] | undefined }) {
  const { text } = useSurroundings();
  if (!files?.length) return null;
  return (
    <ul class="files" aria-label={text("files")}>
      {files.map((file, place) => (
        <li key={place}>
          <Icon name="clip" />
          <span dir="auto">{file.name}</span> <small>{size(file.size)}</small>
        </li>
      ))}
    </ul>
  );
}

/** The files that wait to be sent, with what became of each. */
export function PickedFiles({ onRemoved }: { onRemoved(): void }) {
  const { chat, settings, text, say } = useSurroundings();
  const list = useRef<HTMLUListElement>(null);
  const limits = settings.attachments;
  const { picked } = chat.state;
  const bad = picked.filter(({ reason }) => reason).at(-1);
  useEffect(() => {
    if (bad) say(`${bad.file.name}: ${words(bad)}`);
  }, [bad?.key]);
  // What is new is seen.
  useEffect(() => list.current?.scrollTo(0, 1e4), [picked.at(-1)?.key]);
  if (!picked.length || !limits) return null;
  const words = ({ attachment, reason, file }: Picked) => {
    if (attachment) return size(file.size);
    if (!reason) return text("uploading");
    return text(wordsFor(reason === "invalid" ? "" : reason, "file_failed"), {
      size: size(limits.max_bytes),
      count: limits.max_count,
    });
  };
  return (
    <ul class="files" ref={list} aria-label={text("files")}>
      {picked.map((one) => (
        <li key={one.key} class={one.reason ? "bad" : one.attachment ? "" : "uploading"}>
          <Icon name={one.reason ? "alert" : "clip"} />
          <span dir="auto">{one.file.name}</span> <small>{words(one)}</small>
          {one.reason && !one.reason.startsWith("file_") && (
            <button type="button" class="link" onClick={() => chat.files?.retry(one.key)}>
              {text("retry")}
            </button>
          )}
          <IconButton
            icon="close"
            label={text("file_remove", { name: one.file.name })}
            onClick={() => {
              chat.files?.remove(one.key);
              onRemoved();
            }}
          />
        </li>
      ))}
    </ul>
  );
}

/** The button that opens the browser's own dialog. */
export function AttachButton() {
  const { chat, settings, text } = useSurroundings();
  const input = useRef<HTMLInputElement>(null);
  if (!chat.files || !settings.attachments) return null;
  return (
    <>
      <input
        ref={input}
        type="file"
        hidden
        multiple
        accept={settings.attachments.types.map((ending) => `.${ending}`).join()}
        onChange={({ currentTarget }) => {
          chat.files?.add(currentTarget.files ?? []);
          // Or the same file, picked again, would be no change.
          currentTarget.value = "";
        }}
      />
      <IconButton class="attach" icon="clip" label={text("attach")} onClick={() => input.current?.click()} />
    </>
  );
}
