/** A Lua script, which Redis runs as one step. It is sent once; after that, only its hash. */
import { createHash } from "node:crypto";
import type { RedisClient } from "./redis-client.ts";
import { codeOfReply } from "./store-fault.ts";

export class RedisScript {
  readonly #source: string;
  readonly #sha: string;

  constructor(source: string) {
    this.#source = source;
    this.#sha = createHash("sha1").update(source).digest("hex");
  }

  /** @throws the error reply. */
  async run(client: RedisClient, keys: readonly string[], args: readonly string[]): Promise<unknown> {
    const rest = [String(keys.length), ...keys, ...args];
    try {
      return await client.send(["EVALSHA", this.#sha, ...rest]);
    } catch (error) {
      // A server that was restarted does not know it.
      if (!(error instanceof Error) || codeOfReply(error) !== "NOSCRIPT") throw error;
      return client.send(["EVAL", this.#source, ...rest]);
    }
  }
}
