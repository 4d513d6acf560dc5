// Files on their way into a question: held to the widget's limits here, uploaded as soon as they are picked, and named
// by the question they are sent with. Until then they wait beside the composer, each with what became of it.
import type { Attachment, Settings } from "./protocol";
import { uuid } from "./uuid";

/** A picked file: uploaded once it has an `attachment`, refused if it has a `reason` (a code), else on its way. */
export interface Picked {
  key: string;
  file: File;
  attachment?: Attachment;
  reason?: string;
}

export interface FilesOptions {
  limits: NonNullable<Settings["attachments"]>;
  picked(): readonly Picked[];
  show(picked: Picked[]): void;
  call<T>(method: string, path: string, body?: Blob): Promise<T>;
}

export class Files {
  constructor(private readonly options: FilesOptions) {}

  /** Takes what the visitor picked, dropped or pasted. */
  add(files: Iterable<File>): void {
    for (const file of files) {
      const picked = { key: uuid(), file };
      const reason = this.#refusal(file);
      this.options.show([...this.options.picked(), reason ? { ...picked, reason } : picked]);
      if (!reason) void this.#upload(picked);
    }
  }

  /** Uploads one again that could not be. */
  retry(key: string): void {
    const found = this.options.picked().find((one) => one.key === key);
    if (!found) return;
    this.#change(key, {});
    void this.#upload(found);
  }

  remove(key: string): void {
    const { picked, show, call } = this.options;
    const attachment = picked().find((one) => one.key === key)?.attachment;
    show(picked().filter((one) => one.key !== key));
    // It would be forgotten anyway, later.
    if (attachment) call("DELETE", `attachments/${attachment.id}`).catch(() => {});
  }

  #refusal(file: File): string | undefined {
    const { limits, picked } = this.options;
    if (picked().filter(({ reason }) => !reason).length >= limits.max_count) return "file_count";
    if (file.size > limits.max_bytes) return "file_size";
    const ending = /\.([^.]+)$/.exec(file.name)?.[1]?.toLowerCase() ?? "";
    return limits.types.includes(ending) ? undefined : "file_type";
  }

  async #upload({ key, file }: Picked): Promise<void> {
    try {
      const path = `attachments?name=${encodeURIComponent(file.name)}`;
      const attachment = await this.options.call<Attachment>("POST", path, file);
      // Taken back meanwhile: it is forgotten there by itself.
      this.#change(key, { attachment });
    } catch (error) {
      // The class of our errors is another one here: this file is loaded apart from theirs.
      const { code } = error as { code?: string };
      this.#change(key, { reason: code === "payload_too_large" ? "file_size" : (code ?? "file_failed") });
    }
  }

  #change(key: string, change: Pick<Picked, "attachment" | "reason">): void {
    const { picked, show } = this.options;
    show(picked().map((one) => (one.key === key ? { key, file: one.file, ...change } : one)));
  }
}
