/**
 * The commands of all services. Services with the same command share it: its runs, its secret and its back-off.
 * Invariant: a command that no service uses any more is killed, and its secret forgotten; one that a reload keeps stays as it is.
 */
import type { SecretCommand } from "../../config/credential-source.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { CommandSecret } from "./command-secret.ts";
import type { CommandRunner } from "./run-command.ts";

/** What commands inherit. */
export interface CommandContext {
  /** The gateway's working directory. */
  readonly directory: string;
  readonly environment: () => Readonly<Record<string, string>>;
}

export interface CommandSecrets {
  /** To be released once. */
  acquire(command: SecretCommand): { readonly secret: CommandSecret; release(): void };
  /** After a reload: failing commands may run again at once. */
  retryFailed(): void;
  /** Kills every command that runs, now and from now on. */
  close(): void;
}

export interface CommandSecretsOptions {
  readonly runner: CommandRunner;
  /** Of the current configuration. */
  readonly context: () => CommandContext;
  readonly logger: Pick<Logger, "warn" | "info">;
  /** Monotonic clock, ms. */
  readonly now?: () => number;
}

export function createCommandSecrets({
  runner,
  context,
  logger,
  now = () => performance.now(),
}: CommandSecretsOptions): CommandSecrets {
  const shared = new Map<string, { readonly secret: CommandSecret; users: number }>();

  function open({ argv, ttlSeconds }: SecretCommand): CommandSecret {
    // The arguments may be secrets.
    const [program] = argv;
    return new CommandSecret({
      ttlMs: ttlSeconds * 1_000,
      now,
      start() {
        const { directory, environment } = context();
        return runner.start({ argv, directory, environment: environment() });
      },
      onFailure(reason) {
        if (reason === undefined) logger.info({ program }, "the command of a credential works again");
        else logger.warn({ program, reason }, "the command of a credential failed");
      },
    });
  }

  return {
    acquire(command) {
      const key = JSON.stringify([command.ttlSeconds, command.argv]);
      const entry = shared.get(key) ?? { secret: open(command), users: 0 };
      entry.users++;
      shared.set(key, entry);
      return {
        secret: entry.secret,
        release() {
          entry.users--;
          if (entry.users > 0) return;
          shared.delete(key);
          entry.secret.close();
        },
      };
    },
    retryFailed() {
      for (const { secret } of shared.values()) secret.retry();
    },
    close: runner.close,
  };
}
