/**
 * The life of one service's credential: since when it is configured, when it was used last, when it expires.
 * Invariant: a request costs an assignment and a comparison; what must outlive the process is stored at most once an hour.
 */
import type { CredentialSource } from "../config/credential-source.ts";
import type { CredentialLifeState } from "../config/described-life.ts";
import { endOfJwt } from "../config/jwt-end.ts";
import { withNext } from "../config/next-secret.ts";
import type { CredentialUses } from "../stores/credential-uses.ts";
import type { CredentialProvider } from "./credential/credential-provider.ts";
import { CredentialFacts } from "./credential-facts.ts";
import type { ResponseHeaders } from "./forward/transport/response-fields.ts";

const SAVE_EVERY_MS = 3_600_000;

/** A clock that was not set says a time before this one. */
const EARLIEST = Date.UTC(2020, 0);
/** Ahead of now: what a clock that has been put back says. */
const AHEAD_MS = 86_400_000;

export interface CredentialLifeOptions {
  readonly service: string;
  readonly source: CredentialSource;
  readonly credential: CredentialProvider;
  readonly uses: CredentialUses;
  /** Whether a text contains a secret. */
  readonly isSecret: (text: string) => boolean;
}

/** What responses have said about one credential. */
interface KnownFacts {
  readonly id: string;
  readonly facts: CredentialFacts;
}

export class CredentialLife {
  /** ms since the epoch; 0 while no request has had it since the start. */
  lastUsedAt = 0;
  /** From then on a use is to be stored. */
  saveAt = 0;
  /** Responses that need not be read; below 0 for the next one. */
  skip = 0;
  readonly #options: CredentialLifeOptions;
  #known: KnownFacts | undefined;

  /** @param old of the service before a change of it. */
  constructor(options: CredentialLifeOptions, old?: CredentialLife) {
    this.#options = options;
    if (old !== undefined && old.#id === this.#id) {
      this.#known = old.#known;
      this.lastUsedAt = old.lastUsedAt;
      this.saveAt = old.saveAt;
    }
    if (options.credential.describe !== undefined && options.credential.staged === undefined)
      this.skip = Number.POSITIVE_INFINITY;
    this.#store({});
  }

  /** @param headers of a response below 400. */
  read(headers: ResponseHeaders): void {
    const { credential, isSecret } = this.#options;
    // Two secrets are in use.
    if (credential.staged?.rotation.stage === "sharing") return;
    const id = this.#id;
    if (this.#known?.id !== id) {
      const onEnd = (expiresAt: number) => this.#store({ expiresAt });
      this.#known = { id, facts: new CredentialFacts({ isSecret, onEnd }) };
    }
    this.skip = this.#known.facts.read(headers);
  }

  /** Called with the time of a use at or after `saveAt`. */
  save(usedAt: number): void {
    this.saveAt = usedAt + SAVE_EVERY_MS;
    this.#store({ usedAt });
  }

  describe(): CredentialLifeState {
    const { credential, uses } = this.#options;
    const source = credential.describe?.() ?? this.#options.source;
    // The secret that a rotation has promoted since.
    if (uses.of(this.#id) === undefined) this.#store({});
    const stored = uses.of(this.#id);
    const tokens = [source.token, ...(source.of ?? []).map(({ token }) => token)].filter(
      (token) => token !== undefined,
    );
    const isRenewed = tokens.length > 0 || source.secrets.some(({ command }) => command !== undefined);
    const now = Date.now();
    // The clock has been put back: without this, no use would be stored until it is there again.
    if (this.saveAt > now + SAVE_EVERY_MS) this.saveAt = 0;
    const lastUsedAt = Math.max(...[this.lastUsedAt, stored?.usedAt ?? 0].filter((at) => isPossible(at, now)), 0);
    const ends = [
      stored?.expiresAt,
      ...tokens.map(({ expiresAt }) => expiresAt),
      isRenewed ? undefined : endOfSecrets(source),
    ];
    const known = ends.filter((end) => end !== undefined);
    return {
      expiresAt: known.length === 0 ? undefined : Math.min(...known),
      isRenewed,
      since: stored === undefined || !isPossible(stored.since, now) ? now : stored.since,
      lastUsedAt: lastUsedAt === 0 ? undefined : lastUsedAt,
      scopes: this.#known?.id === this.#id ? this.#known.facts.describe() : undefined,
    };
  }

  /** Another secret is another life. */
  get #id(): string {
    const { service, credential } = this.#options;
    return `${service}:${credential.sourceId ?? ""}`;
  }

  #store(change: { readonly usedAt?: number; readonly expiresAt?: number }): void {
    const { uses } = this.#options;
    const now = Date.now();
    const before = uses.of(this.#id);
    const since = before !== undefined && isPossible(before.since, now) ? before.since : now;
    uses.set(this.#id, { ...before, ...change, since, seenAt: now });
  }
}

/** Whether a clock that is set can have said this time, ms since the epoch. */
function isPossible(at: number, now: number): boolean {
  return at >= EARLIEST && at <= now + AHEAD_MS;
}

/** Of the secrets that are sent: after a rotation, the next one. */
function endOfSecrets(source: CredentialSource): number | undefined {
  const { secrets } = (source.rotation?.stage === "promoted" ? withNext(source) : undefined) ?? source;
  const ends = secrets.flatMap(({ secret }) => (secret && endOfJwt(secret.reveal())) ?? []);
  return ends.length === 0 ? undefined : Math.min(...ends) * 1_000;
}
