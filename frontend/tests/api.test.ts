import { expect, test, vi } from "vitest";
import { type ApiError, call, UNREACHABLE } from "../src/api";
import { texts, wordsFor } from "../src/text";

const problem = (status: number, body: unknown, headers = {}) =>
  new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers });

async function failure(answer: Response | Error): Promise<ApiError> {
  vi.stubGlobal("fetch", () => (answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer)));
  return call("https://chat.test/", "GET", "x", null).then(
    () => expect.unreachable(),
    (error) => error,
  );
}

test("a problem keeps its code, status and wait", async () => {
  const error = await failure(problem(429, { code: "rate_limited", retry_after: 12 }));
  expect(error).toMatchObject({ code: "rate_limited", status: 429, retryAfter: 12, passing: false });
});

test("many who ask are told from one who asks much", async () => {
  const error = await failure(problem(429, { code: "rate_limited", reason: "busy", retry_after: 3 }));
  expect(error).toMatchObject({ code: "busy", retryAfter: 3, limited: true, passing: false });
});

test("the wait may come as a header alone", async () => {
  const error = await failure(problem(429, { code: "rate_limited" }, { "Retry-After": "7" }));
  expect(error.retryAfter).toBe(7);
});

test("a dead network and a proxy's error page are worth another try", async () => {
  expect(await failure(new TypeError("Failed to fetch"))).toMatchObject({ code: UNREACHABLE, passing: true });
  expect(await failure(problem(502, "<html>Bad gateway"))).toMatchObject({
    code: UNREACHABLE,
    passing: true,
  });
});

test("so is a service that is restarting, and a refusal is not", async () => {
  expect(await failure(problem(503, { code: "restarting" }))).toMatchObject({
    code: "restarting",
    passing: true,
  });
  expect(await failure(problem(422, { code: "invalid" }))).toMatchObject({ passing: false });
});

test("an answer that is no JSON counts as none", async () => {
  expect(await failure(new Response("<html>", { status: 200 }))).toMatchObject({ code: UNREACHABLE });
});

test("the token travels in its header, the body as JSON, and cookies do not travel", async () => {
  const fetch = vi.fn(async (_url: string, _init: RequestInit) => new Response(null, { status: 204 }));
  vi.stubGlobal("fetch", fetch);
  expect(await call("https://chat.test/", "PUT", "messages/1/feedback", "tok", { vote: "up" })).toBe(
    undefined,
  );
  const [url, init] = fetch.mock.calls[0]!;
  expect(url).toBe("https://chat.test/api/v1/messages/1/feedback");
  expect(init).toMatchObject({
    method: "PUT",
    credentials: "omit",
    body: '{"vote":"up"}',
    headers: { Authorization: "Bearer tok", "Content-Type": "application/json" },
  });
});

test("every code that a visitor may meet has words of its own", () => {
  const say = texts("en", {});
  const codes = [
    "agent_unavailable",
    "agent_timeout",
    "agent_rejected",
    "agent_misconfigured",
    "interrupted",
    "rate_limited",
    "busy",
    "widget_paused",
    "payload_too_large",
    "answer_in_progress",
    "invalid",
    UNREACHABLE,
  ];
  const words = codes.map((code) => say(wordsFor(code, "refused")));
  expect(new Set(words).size).toBe(codes.length);
  expect(words).not.toContain(say("refused"));
  expect(say(wordsFor("of_the_future", "refused"))).toBe(say("refused"));
});

test("a widget's own words win over the language's, and values are filled in", () => {
  const say = texts("de-AT", { send: "Los" });
  expect(say("send")).toBe("Los");
  expect(say("waiting_seconds", { seconds: 3 })).toBe("Sending again in 3 s");
});
