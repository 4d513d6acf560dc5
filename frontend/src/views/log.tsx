import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Markdown } from "../markdown";
import type { Message } from "../protocol";
import type { Outgoing, State } from "../state";
import { useSurroundings } from "./context";
import { IconButton } from "./icons";
import { Answer, Question, Unsent } from "./messages";
import { focusLog, reveal, scrollLog, toTop } from "./scroll";

/** Closer to the end than this counts as being there. */
const NEAR_PX = 60;
/** A page of messages; fewer than that means there is none before it. */
const PAGE = 50;

/** A question with all that came after it until the next one. */
interface Turn {
  id: string;
  question?: Message;
  unsent?: Outgoing;
  answers: Message[];
}

function turns(state: State): Turn[] {
  const list: Turn[] = [];
  for (const message of state.messages) {
    if (message.role === "visitor") list.push({ id: message.id, question: message, answers: [] });
    else if (list.length) list.at(-1)!.answers.push(message);
    else list.push({ id: `before-${message.id}`, answers: [message] });
  }
  for (const unsent of state.outbox) {
    if (unsent.conversation === state.conversation) list.push({ id: unsent.id, unsent, answers: [] });
  }
  return list;
}

function Welcome({ empty }: { empty: boolean }) {
  const { chat, settings, text } = useSurroundings();
  return (
    <div class="welcome">
      <Markdown text={text("greeting")} breaks />
      {empty && settings.starters.length > 0 && !chat.state.paused && (
        <div class="starters" role="group" aria-label={text("starters")}>
          {settings.starters.map((starter) => (
            <button
              key={starter}
              type="button"
              dir="auto"
              onClick={(event) => {
                focusLog(event.currentTarget);
                chat.send(starter);
              }}
            >
              {starter}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

/**
 * Where the visitor is in the conversation. A question they send goes to the top, and its answer grows below it while
 * nothing moves: the reader begins at the beginning. What others say comes into view only if the end was in view.
 */
function useScroll(list: readonly Turn[], loading: boolean) {
  const log = useRef<HTMLDivElement>(null);
  const before = useRef({
    last: "",
    count: 0,
    loaded: false,
    atEnd: true,
    height: 0,
    first: "",
  });
  const [pinned, setPinned] = useState("");
  const [away, setAway] = useState(false);
  const last = list.at(-1);
  const first = list[0]?.id ?? "";

  const look = () => {
    const { scrollHeight, scrollTop, clientHeight } = log.current!;
    const atEnd = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    before.current.atEnd = atEnd;
    before.current.height = scrollHeight;
    setAway(!atEnd);
  };
  const toTurn = (smooth: boolean) => {
    const turn = log.current!.querySelector<HTMLElement>(".turn:last-of-type");
    if (turn) toTop(log.current!, turn, smooth);
  };
  const toEnd = () => scrollLog(log.current!, log.current!.scrollHeight);

  useLayoutEffect(() => {
    const was = before.current;
    const count = list.reduce((sum, turn) => sum + 1 + turn.answers.length, 0);
    if (last?.unsent?.state === "sending" && last.id !== was.last) {
      setPinned(last.id);
      // After the turn got its room (see .pinned in the style sheet).
      requestAnimationFrame(() => toTurn(true));
    } else if (!was.loaded && last && !loading) {
      toTurn(false);
    } else if (first !== was.first && was.first && last?.id === was.last) {
      // Earlier messages came in above: stay with what is being read.
      log.current!.scrollTop += log.current!.scrollHeight - was.height;
    } else if (
      count > was.count &&
      was.atEnd &&
      !(last?.id === pinned && last.answers.at(-1)?.role === "agent")
    ) {
      reveal(log.current!.querySelector<HTMLElement>(".turn:last-of-type > :last-child"));
    }
    const loaded = last !== undefined && !loading;
    before.current = { ...was, last: last?.id ?? "", first, count, loaded };
    look();
  });

  return { log, pinned, away, look, toEnd };
}

export function Log() {
  const { chat, text, name } = useSurroundings();
  const { state } = chat;
  const list = turns(state);
  const human = state.conversations.find(({ id }) => id === state.conversation)?.mode === "human";
  const more =
    state.earlier ?? (state.earlier === undefined && state.messages.length >= PAGE ? "unknown" : null);
  const { log, pinned, away, look, toEnd } = useScroll(list, state.loading);
  const lastAnswer = list.at(-1)?.answers.at(-1)?.id;
  return (
    <div class="log-frame">
      {/* Tokens are not announced as they come; a finished answer is, once, by the status region. */}
      <div
        class="log"
        ref={log}
        role="log"
        aria-live="off"
        aria-label={text("log", { name })}
        tabIndex={0}
        onScroll={look}
      >
        <div class="column">
          <h2 class="hidden">{text("log", { name })}</h2>
          {more && (
            <button type="button" class="earlier" disabled={state.loading} onClick={() => chat.earlier()}>
              {text(state.loading ? "loading" : "earlier")}
            </button>
          )}
          {!more && !(state.loading && !list.length) && <Welcome empty={!list.length} />}
          {state.loading && !list.length && <p class="system">{text("loading")}</p>}
          {list.map((turn) => (
            <div key={turn.id} class={turn.id === pinned && turn === list.at(-1) ? "turn pinned" : "turn"}>
              {turn.question && <Question text={turn.question.text} files={turn.question.attachments} />}
              {turn.unsent && <Unsent item={turn.unsent} />}
              {turn.answers.map((message, place) => (
                <Answer
                  key={message.id}
                  message={message}
                  human={human}
                  last={message.id === lastAnswer}
                  replaced={!!turn.answers[place + 1]}
                />
              ))}
            </div>
          ))}
        </div>
      </div>
      {away && list.length > 0 && (
        <IconButton class="latest" icon="down" label={text("latest")} onClick={toEnd} />
      )}
    </div>
  );
}
