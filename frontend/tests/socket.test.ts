import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Socket } from "../src/socket";
import { FakeSocket, fakeSockets } from "./fakes";

const ready = { type: "ready", conversation: null, messages: [] };
const events = {
  hello: () => ({ type: "hello", token: "tok", conversation: "c1" }) as const,
  frame: vi.fn(),
  down: vi.fn(),
  refused: vi.fn(async () => {}),
};
let socket: Socket;

beforeEach(() => {
  vi.useFakeTimers();
  vi.clearAllMocks();
  fakeSockets();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  socket = new Socket("ws://chat.test/ws/v1/", events);
  socket.start();
});
afterEach(() => {
  socket.stop();
  vi.useRealTimers();
});

function connect() {
  FakeSocket.last.accept();
  FakeSocket.last.say(ready);
}

/** Lets time pass until there is another attempt, and tells how long that took. */
async function nextAttempt(): Promise<number> {
  const made = FakeSocket.all.length;
  let waited = 0;
  while (FakeSocket.all.length === made) {
    await vi.advanceTimersByTimeAsync(50);
    waited += 50;
  }
  return waited;
}

test("the token travels in the first frame, not in the address", () => {
  FakeSocket.last.accept();
  expect(FakeSocket.last.url).toBe("ws://chat.test/ws/v1/");
  expect(FakeSocket.last.sent).toEqual([{ type: "hello", token: "tok", conversation: "c1" }]);
});

test("a lost connection comes back by itself, and says so meanwhile", async () => {
  connect();
  FakeSocket.last.end();
  expect(events.down).toHaveBeenCalledWith(0);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(FakeSocket.all).toHaveLength(2);
});

test("failures are counted until a ready", async () => {
  for (let i = 0; i < 3; i += 1) {
    FakeSocket.last.end();
    await nextAttempt();
  }
  expect(events.down.mock.calls).toEqual([[1], [2], [3]]);
  connect();
  FakeSocket.last.end();
  expect(events.down).toHaveBeenLastCalledWith(0);
});

test("waits grow while attempts fail, and are short again after a connection that lasted", async () => {
  const waits: number[] = [];
  for (let i = 0; i < 7; i += 1) {
    FakeSocket.last.end();
    waits.push(await nextAttempt());
  }
  expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
  connect();
  await vi.advanceTimersByTimeAsync(6_000);
  FakeSocket.last.end();
  expect(await nextAttempt()).toBe(250);
});

test("a dead connection that the browser holds for alive is found within 30 seconds", async () => {
  connect();
  await vi.advanceTimersByTimeAsync(25_000);
  expect(FakeSocket.last.sent.at(-1)).toEqual({ type: "ping" });
  expect(socket.live).toBe(true);
  await vi.advanceTimersByTimeAsync(4_900);
  expect(socket.live).toBe(false);
  expect(events.down).toHaveBeenCalledTimes(1);
});

test("an answered ping keeps the connection", async () => {
  connect();
  for (let i = 0; i < 4; i += 1) {
    await vi.advanceTimersByTimeAsync(25_000);
    FakeSocket.last.say({ type: "pong" });
  }
  expect(FakeSocket.all).toHaveLength(1);
  expect(socket.live).toBe(true);
});

test("a server that takes the connection and then says nothing is left", async () => {
  FakeSocket.last.accept();
  await vi.advanceTimersByTimeAsync(12_000);
  expect(FakeSocket.all.length).toBeGreaterThan(1);
});

test("coming back online tries at once, or checks the connection there is", async () => {
  FakeSocket.last.end();
  socket.poke();
  expect(FakeSocket.all).toHaveLength(2);
  connect();
  socket.poke();
  expect(FakeSocket.last.sent.at(-1)).toEqual({ type: "ping" });
  expect(FakeSocket.all).toHaveLength(2);
});

test("a refused token is exchanged before the next attempt", async () => {
  let renewed = () => {};
  events.refused.mockReturnValueOnce(new Promise<void>((done) => (renewed = done)));
  FakeSocket.last.accept();
  FakeSocket.last.end(4401);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(FakeSocket.all).toHaveLength(1);
  renewed();
  await vi.advanceTimersByTimeAsync(5_000);
  expect(FakeSocket.all).toHaveLength(2);
});

test("a server that has too many is given at least ten seconds", async () => {
  FakeSocket.last.end(4429);
  await vi.advanceTimersByTimeAsync(9_900);
  expect(FakeSocket.all).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(200);
  expect(FakeSocket.all).toHaveLength(2);
});

test("a server that ends says when to come back, and is taken at its word", async () => {
  connect();
  FakeSocket.last.end(4503, "retry_in=3.2");
  expect(await nextAttempt()).toBe(3_200);
  FakeSocket.last.end();
  expect(await nextAttempt()).toBe(500);
  FakeSocket.last.end(4503, "retry_in=99999");
  expect(await nextAttempt()).toBe(30_000);
});

test("stopped is stopped", async () => {
  connect();
  socket.stop();
  await vi.advanceTimersByTimeAsync(120_000);
  expect(FakeSocket.all).toHaveLength(1);
});
