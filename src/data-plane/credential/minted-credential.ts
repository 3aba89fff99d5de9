/**
 * Credentials with an access token that the gateway obtains: what is injected is computed once for each token.
 * Invariant: every mask knows a token before it is sent, and as long as it may come back; the source id stays the same, so a renewed
 * token spends the same quota.
 */
import type { AuthDefinition } from "../../config/auth-schema.ts";
import type { CredentialSource } from "../../config/credential-source.ts";
import { type Placement, placementsOf } from "../../config/placements.ts";
import type { Service } from "../../config/schema.ts";
import { returnableSecrets } from "../../config/service-secrets.ts";
import {
  type CredentialPlace,
  type CredentialProvider,
  type Injection,
  type MissingCredential,
  NOTHING,
  unavailableCredential,
} from "./credential-provider.ts";
import { describePlaces, fillPlaces } from "./fill-places.ts";
import type { HeldToken, RenewedToken } from "./renewed-token.ts";
import type { RenewedTokens, TokenOrder } from "./renewed-tokens.ts";

export interface MintedCredentialContext {
  readonly tokens: RenewedTokens;
  /** Turns a text into a name that does not reveal it. */
  readonly nameSource: (text: string) => string;
  /** A token that was issued before may be a key of the gateway since a reload. */
  readonly isOwnKey: (text: string) => boolean;
}

/** A service whose tokens the gateway obtains. */
export type MintedService = Service & { readonly auth: AuthDefinition; readonly credential: CredentialSource };

export class MintedCredential implements CredentialProvider {
  readonly places: readonly CredentialPlace[];
  readonly sourceId: string;
  readonly #service: MintedService;
  readonly #context: MintedCredentialContext;
  readonly #placements: readonly Placement[];
  readonly #held: { readonly token: RenewedToken; release(): void };
  readonly #token: RenewedToken;
  #built: { readonly token: HeldToken; readonly injection: Injection } | undefined;
  #secrets: readonly string[];

  constructor(service: MintedService, context: MintedCredentialContext, order: TokenOrder) {
    const { auth, ws } = service;
    this.#service = service;
    this.#context = context;
    this.#placements = placementsOf(auth, ws);
    this.places = describePlaces(this.#placements);
    this.sourceId = context.nameSource(order.account);
    this.#held = context.tokens.acquire(order);
    this.#token = this.#held.token;
    this.#secrets = returnableSecrets(service);
  }

  get missing(): MissingCredential | undefined {
    const reason = this.#token.unavailable;
    return reason === undefined ? undefined : this.#describeFailure(reason);
  }

  get(): Injection | Promise<Injection> {
    const token = this.#token.get();
    return token instanceof Promise ? token.then((each) => this.#injectionOf(each)) : this.#injectionOf(token);
  }

  renew(refused: Injection): Promise<void> | undefined {
    const built = this.#built;
    if (refused === NOTHING) return undefined;
    // Another request has renewed it.
    if (built?.injection !== refused) return Promise.resolve();
    return this.#token.renew(built.token);
  }

  async refresh(): Promise<string | undefined> {
    const failure = await this.#token.refresh();
    return failure && `its token endpoint ${failure}`;
  }

  readonly secrets = (): readonly string[] => this.#secrets;

  describe(): CredentialSource {
    return { ...this.#service.credential, token: this.#token.describe() };
  }

  close(): void {
    this.#held.release();
  }

  /** @throws GatewayError where the credential is required. */
  #injectionOf(token: HeldToken | undefined): Injection {
    const built = this.#built;
    if (built !== undefined && built.token === token) return built.injection;
    if (token === undefined)
      return this.#without(this.#token.failure ?? "was not asked, because the service has ended");
    if (this.#context.isOwnKey(token.text)) return this.#without("issued a key of the gateway");
    this.#secrets = [...new Set([...returnableSecrets(this.#service), ...this.#token.recent])];
    const injection = fillPlaces(this.#placements, new Map([["token", token.text]]));
    this.#built = { token, injection };
    return injection;
  }

  #without(reason: string): Injection {
    const missing = this.#describeFailure(reason);
    if (missing.isRequired) throw unavailableCredential(this.#service.key, missing);
    return NOTHING;
  }

  #describeFailure(reason: string): MissingCredential {
    const { auth, key } = this.#service;
    return {
      isRequired: auth.required,
      isUnavailable: true,
      message: `its token endpoint ${reason}.`,
      hint: `It is asked again by itself. The log and the check credential:${key} of /manage/diagnostics show operators its state.`,
    };
  }
}
