// The REST half of the visitor protocol. Every failure becomes one ApiError with the protocol's code.

/** No answer came, or none that was ours (a proxy's error page, say). Trying again may help. */
export const UNREACHABLE = "unreachable";

export class ApiError extends Error {
  constructor(
    readonly code: string,
    readonly status: number,
    /** Seconds to wait, where the service says so. */
    readonly retryAfter: number | null = null,
  ) {
    super(code);
  }

  /** Whether the same call may well succeed a little later, without anybody changing anything. */
  get passing(): boolean {
    return this.code === UNREACHABLE || this.status >= 500;
  }

  /** Whether it is to be tried again after `retryAfter`: this visitor asks much, or many do (`busy`). */
  get limited(): boolean {
    return this.status === 429;
  }
}

/** How long a call may take. Sending a question only stores it, so nothing here waits for an agent. */
const TIMEOUT_MS = 20_000;
/** The same for a file, over a slow line. */
const UPLOAD_MS = 180_000;

/** Reads a problem+json answer. */
export async function toError(response: Response): Promise<ApiError> {
  const problem = await response.json().catch(() => null);
  // A reason tells apart what has one code.
  const said = problem?.reason ?? problem?.code;
  const code = typeof said === "string" ? said : UNREACHABLE;
  const wait = Number(problem?.retry_after ?? response.headers.get("Retry-After"));
  return new ApiError(code, response.status, wait > 0 ? wait : null);
}

export async function call<T>(
  base: string,
  method: string,
  path: string,
  token: string | null,
  /** A Blob goes as it is, anything else as JSON. */
  body?: unknown,
): Promise<T> {
  const abort = new AbortController();
  const file = body instanceof Blob;
  const timer = setTimeout(() => abort.abort(), file ? UPLOAD_MS : TIMEOUT_MS);
  const headers: Record<string, string> = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = file ? "application/octet-stream" : "application/json";
  const init: RequestInit = { method, headers, credentials: "omit", signal: abort.signal };
  if (file) init.body = body;
  else if (body !== undefined) {
    init.body = JSON.stringify(body);
    // What the visitor said goes out also if they leave at once.
    init.keepalive = true;
  }
  try {
    const response = await fetch(`${base}api/v1/${path}`, init);
    if (!response.ok) throw await toError(response);
    return (response.status === 204 ? undefined : await response.json()) as T;
  } catch (error) {
    throw error instanceof ApiError ? error : new ApiError(UNREACHABLE, 0);
  } finally {
    clearTimeout(timer);
  }
}
