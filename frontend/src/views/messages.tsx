import { useEffect, useState } from "preact/hooks";
import { safeUrl } from "../links";
import { Markdown } from "../markdown";
import type { Attachment, Citation, Message } from "../protocol";
import { isFinal, type Outgoing } from "../state";
import { wordsFor } from "../text";
import { Attachments } from "./attachments";
import { useSurroundings } from "./context";
import { AnswerActions } from "./feedback";
import { Icon } from "./icons";
import { Link } from "./link";
import { focusLog } from "./scroll";

/** Words come after the first of these, others after the second one more. */
const STILL_WORKING_MS = [8_000, 22_000];

export function Question({ text, files }: { text: string; files: readonly Attachment[] | undefined }) {
  const { text: say } = useSurroundings();
  return (
    <div class="question">
      <span class="hidden">{say("you")}: </span>
      <div dir="auto">{text}</div>
      <Attachments files={files} />
    </div>
  );
}

/** A question that the service has not confirmed, and why. */
export function Unsent({ item }: { item: Outgoing }) {
  const { chat, text } = useSurroundings();
  const refused = item.state === "refused";
  const seconds = Math.max(0, Math.ceil(((item.retryAt ?? 0) - Date.now()) / 1000));
  const [, count] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => count((ticks) => ticks + 1), 1_000);
    return () => clearInterval(timer);
  }, []);
  const words = refused || item.reason ? text(wordsFor(item.reason, "refused")) : text("waiting");
  return (
    <>
      <Question text={item.text} files={item.files} />
      {item.state === "sending" ? (
        <Typing />
      ) : (
        <div class={refused ? "unsent bad" : "unsent"}>
          <span>{words} </span>
          {(item.reason === "rate_limited" || item.reason === "busy") &&
            `${text("waiting_seconds", { seconds })} `}
          <div>
            <button
              type="button"
              class="link"
              onClick={(event) => {
                focusLog(event.currentTarget);
                chat.resend(item.id);
              }}
            >
              {text("retry")}
            </button>
            <button
              type="button"
              class="link"
              onClick={(event) => {
                focusLog(event.currentTarget);
                chat.discard(item.id);
              }}
            >
              {text("discard")}
            </button>
          </div>
        </div>
      )}
    </>
  );
}

/** Dots at once, and words when it takes long. `soon` false: only when it takes long. */
export function Typing({ soon = true }) {
  const { text, name } = useSurroundings();
  const [waits, setWaits] = useState(0);
  useEffect(() => {
    const wait = STILL_WORKING_MS[waits];
    if (!wait) return;
    const timer = setTimeout(() => setWaits(waits + 1), wait);
    return () => clearTimeout(timer);
  }, [waits]);
  if (!soon && !waits) return null;
  return (
    <div class="typing">
      <span class="dots" role="img" aria-label={text("typing", { name })}>
        <i />
        <i />
        <i />
      </span>
      {waits > 0 && <span class="note">{text(waits > 1 ? "works_long" : "still_working")}</span>}
    </div>
  );
}

function Sources({ citations }: { citations: readonly Citation[] }) {
  const { text } = useSurroundings();
  if (!citations.length) return null;
  return (
    <div class="sources">
      <span>{text("sources")}</span>
      <ol>
        {citations.map(({ title, url }, i) => (
          <li key={i}>
            <Link href={url} words={title}>
              {title || url}
            </Link>
          </li>
        ))}
      </ol>
    </div>
  );
}

/** Pages to open, offered by the agent. */
function Links({ links }: { links: readonly Citation[] }) {
  const safe = links.filter(({ url }) => safeUrl(url));
  if (!safe.length) return null;
  return (
    <p class="chips">
      {safe.map(({ title, url }, i) => (
        <Link key={i} href={url} words={title}>
          {title || url}
        </Link>
      ))}
    </p>
  );
}

interface AnswerProps {
  message: Message;
  /** Only the last answer can be asked for again. */
  last: boolean;
  /** The question was answered again. */
  replaced: boolean;
  human: boolean;
}

/** What the agent, a person or the service said. */
export function Answer({ message, last, replaced, human }: AnswerProps) {
  const { chat, text } = useSurroundings();
  const { role, status, error } = message;
  const mine = chat.state.stopped.includes(message.id);
  if (role === "system") return <p class="system">{message.text}</p>;
  if (!isFinal(message) && !message.text) return human ? null : <Typing />;
  // A person has the conversation, or the visitor tried again: nothing to see.
  if (!message.text && (replaced || status === "completed" || (status === "stopped" && !mine))) return null;

  const trouble =
    status === "failed"
      ? text(wordsFor(error?.code, "answer_failed"))
      : status === "stopped"
        ? text(mine ? "answer_stopped" : "stopped")
        : "";
  return (
    <div class={`answer ${role}`} data-status={status}>
      {message.text && <Markdown text={message.text} finished={isFinal(message)} breaks={role === "human"} />}
      {/* The text has stopped coming: begins anew with each piece of it. */}
      {!isFinal(message) && <Typing key={message.seq} soon={false} />}
      {isFinal(message) && <Links links={message.links ?? []} />}
      {isFinal(message) && <Sources citations={message.citations} />}
      {trouble && (
        <div class={status === "failed" ? "trouble bad" : "trouble"}>
          {status === "failed" && <Icon name="alert" />}
          <span>{trouble}</span>
          {last && role === "agent" && (
            <button
              type="button"
              class="link"
              onClick={(event) => {
                focusLog(event.currentTarget);
                void chat.retry(message.id);
              }}
            >
              {text("retry")}
            </button>
          )}
        </div>
      )}
      {isFinal(message) && status !== "failed" && message.text && <AnswerActions message={message} />}
    </div>
  );
}
