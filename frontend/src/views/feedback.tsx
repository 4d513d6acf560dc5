import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Message, Vote } from "../protocol";
import { type TextKey, wordsFor } from "../text";
import { useSurroundings } from "./context";
import { CopyButton } from "./copy";
import { Icon, IconButton } from "./icons";
import { sends } from "./keys";
import { reveal } from "./scroll";

const whyRefused = (code: string): TextKey =>
  code === "invalid" ? "feedback_invalid" : wordsFor(code, "refused");

/** Copy and thumbs below a finished answer; after a vote, reasons and a comment in place of a "thank you". */
export function AnswerActions({ message }: { message: Message }) {
  const { chat, settings, text, say } = useSurroundings();
  const { enabled, comments, comment_limit, reasons } = settings.feedback;
  const pending = chat.state.votes[message.id];
  const saved = message.feedback;
  const word = pending && !pending.failed ? pending : saved;
  const { vote, comment, reasons: chosen } = word ?? { vote: null, comment: "", reasons: [] };
  const [step, setStep] = useState<"none" | "asking" | "thanked" | "removed">("none");
  // Kept while the vote is taken back and given again, so that nothing written is lost by a slip.
  const [written, setWritten] = useState(comment);
  const row = useRef<HTMLDivElement>(null);
  const form = useRef<HTMLFormElement>(null);
  /** Whether the visitor asked for the form, so that the focus goes into it. */
  const wanted = useRef(false);

  useLayoutEffect(() => {
    if (step !== "asking") return;
    reveal(form.current);
    const box = form.current?.querySelector<HTMLElement>("textarea") ?? form.current?.querySelector("button");
    if (wanted.current) box?.focus();
    wanted.current = false;
  }, [step]);

  const put = (change: { vote?: Vote; comment?: string; reasons?: string[] }) =>
    chat.vote(message.id, { vote, comment, reasons: chosen, ...change });
  const removed =
    settings.feedback.clearable || saved?.delivery === "local" ? "taken_back" : "taken_back_here";
  const offered = vote ? reasons[vote] : [];
  const asks = (direction: "up" | "down") => comments || reasons[direction].length > 0;

  const press = (direction: "up" | "down", event: MouseEvent) => {
    // The second click of a double click does not take back what the first one gave.
    if (event.detail > 1) return;
    if (vote === direction) {
      put({ vote: null, comment: "", reasons: [] });
      setStep("removed");
      say(text("taken_back"));
      return;
    }
    // Reasons belong to their thumb; the comment goes along.
    put({ vote: direction, reasons: [] });
    setStep(asks(direction) ? "asking" : "thanked");
    if (!asks(direction)) say(text("thanks"));
  };
  const finish = (words: boolean) => {
    if (words) put({ comment: written.trim() });
    setStep("thanked");
    say(text("thanks"));
    row.current?.querySelector<HTMLElement>("[aria-pressed=true]")?.focus();
  };

  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: what is inside can be reached; this only hears Escape
    <div
      class="actions"
      onKeyDown={(event) => {
        if (event.key !== "Escape" || step !== "asking") return;
        event.stopPropagation();
        finish(false);
      }}
    >
      <div class="row" ref={row}>
        <CopyButton value={message.text} label={text("copy_answer")} />
        {enabled && message.rateable && (
          <div class="thumbs" role="group" aria-label={text("rate")}>
            <IconButton
              icon="up"
              label={text("up")}
              pressed={vote === "up"}
              onClick={(event) => press("up", event)}
            />
            <IconButton
              icon="thumb_down"
              label={text("down")}
              pressed={vote === "down"}
              onClick={(event) => press("down", event)}
            />
          </div>
        )}
        {pending?.failed ? (
          <span class="note bad" role="alert">
            {text("vote_failed", { reason: text(whyRefused(pending.failed)) })}
          </span>
        ) : (
          <span class="note">
            {pending?.waits
              ? text(chat.lasting ? "vote_waits" : "vote_waits_here")
              : step === "thanked" && vote
                ? text("thanks")
                : step === "removed" && !vote && text(removed)}
          </span>
        )}
        {step === "thanked" && vote && !pending?.failed && asks(vote) && (
          <button
            type="button"
            class="link"
            onClick={() => {
              setStep("asking");
              wanted.current = true;
            }}
          >
            {text("comment_more")}
          </button>
        )}
      </div>
      {step === "asking" && vote && (pending?.failed ?? "invalid") === "invalid" && (
        <form
          ref={form}
          class="ask"
          onSubmit={(event) => {
            event.preventDefault();
            finish(true);
          }}
        >
          <div class="ask-head">
            <span id={`ask-${message.id}`}>{text(vote === "up" ? "comment_up" : "comment_down")}</span>
            <IconButton icon="close" label={text("comment_close")} onClick={() => finish(false)} />
          </div>
          {offered.length > 0 && (
            <div class="chips">
              {offered.map(({ key, label }) => {
                const on = chosen.includes(key);
                const toggled = on ? chosen.filter((each) => each !== key) : [...chosen, key];
                return (
                  <button key={key} type="button" aria-pressed={on} onClick={() => put({ reasons: toggled })}>
                    {text(`=${label}`)}
                  </button>
                );
              })}
            </div>
          )}
          {comments && (
            <div class="comment">
              <textarea
                rows={2}
                value={written}
                maxLength={comment_limit}
                aria-labelledby={`ask-${message.id}`}
                placeholder={text("comment_optional")}
                onInput={(event) => setWritten(event.currentTarget.value)}
                onKeyDown={(event) => {
                  if (!sends(event)) return;
                  event.preventDefault();
                  finish(true);
                }}
              />
              <button
                type="submit"
                class="send"
                aria-label={text("comment_send")}
                title={text("comment_send")}
              >
                <Icon name="send" />
              </button>
            </div>
          )}
        </form>
      )}
    </div>
  );
}
