import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Message, Vote } from "../protocol";
import { useSurroundings } from "./context";
import { CopyButton } from "./copy";
import { Icon, IconButton } from "./icons";
import { reveal } from "./scroll";

/** Copy and thumbs below a finished answer; after a vote, reasons and a comment in place of a "thank you". */
export function AnswerActions({ message }: { message: Message }) {
  const { chat, settings, text, say } = useSurroundings();
  const { enabled, comments, comment_limit, reasons } = settings.feedback;
  const pending = chat.state.votes[message.id];
  const saved = message.feedback;
  const { vote, comment, reasons: chosen } = pending ?? saved ?? { vote: null, comment: "", reasons: [] };
  const [step, setStep] = useState<"none" | "asking" | "thanked" | "removed">("none");
  // Kept while the vote is taken back and given again, so that nothing written is lost by a slip.
  const [written, setWritten] = useState(comment);
  const row = useRef<HTMLDivElement>(null);
  const form = useRef<HTMLFormElement>(null);

  useLayoutEffect(() => {
    if (step === "asking") reveal(form.current);
  }, [step]);

  const put = (change: { vote?: Vote; comment?: string; reasons?: string[] }) =>
    chat.vote(message.id, { vote, comment, reasons: chosen, ...change });
  const offered = vote ? reasons[vote] : [];
  const asks = (direction: "up" | "down") => comments || reasons[direction].length > 0;

  const press = (direction: "up" | "down") => {
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
    <div class="actions">
      <div class="row" ref={row}>
        <CopyButton value={message.text} label={text("copy_answer")} />
        {enabled && message.rateable && (
          <div class="thumbs" role="group" aria-label={text("rate")}>
            <IconButton icon="up" label={text("up")} pressed={vote === "up"} onClick={() => press("up")} />
            <IconButton
              icon="thumb_down"
              label={text("down")}
              pressed={vote === "down"}
              onClick={() => press("down")}
            />
          </div>
        )}
        {pending?.failed ? (
          <span class="note bad" role="alert">
            {text("vote_failed")}
          </span>
        ) : (
          <span class="note">
            {step === "thanked" && vote && text("thanks")}
            {step === "removed" &&
              !vote &&
              text(
                !settings.feedback.clearable && saved?.delivery !== "local"
                  ? "taken_back_here"
                  : "taken_back",
              )}
          </span>
        )}
      </div>
      {step === "asking" && vote && !pending?.failed && (
        <form
          ref={form}
          class="ask"
          onSubmit={(event) => {
            event.preventDefault();
            finish(true);
          }}
          onKeyDown={(event) => {
            if (event.key !== "Escape") return;
            event.stopPropagation();
            finish(false);
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
                    {label}
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
                  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
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
