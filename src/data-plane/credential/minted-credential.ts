/**
 * Credentials with an access token that the gateway obtains: what is injected is computed once for each token.
 * Invariant: every mask knows a token before it is sent, and as long as it may come back; the source id stays the same, so a renewed
 * token spends the same quota.
 */
import type { AuthDefinition } from "../../config/auth-schema.ts";
import type { CredentialSource } from "../../config/credential-source.ts";
import { type Placement, placementsOf } from "../../config/placements.ts";
import type { Service } from "../../config/schema.ts";
import { Secret } from "../../config/secret.ts";
import { returnableSecrets } from "../../config/service-secrets.ts";
import { CredentialLogin } from "./credential-login.ts";
import {
  type CredentialPlace,
  type CredentialProvider,
  decideCredential,
  type Injection,
  type LoginToken,
  type MissingCredential,
  NOTHING,
  unavailableCredential,
} from "./credential-provider.ts";
import { describePlaces, fillPlaces } from "./fill-places.ts";
import type { HeldToken, RenewedToken } from "./renewed-token.ts";
import type { AcquiredToken, RenewedTokens, TokenOrder } from "./renewed-tokens.ts";

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
  /** Defined where a login gives the refresh token. */
  readonly setLogin: ((login: LoginToken | undefined) => Promise<void>) | undefined;
  readonly #sourceId: string;
  readonly #service: MintedService;
  readonly #context: MintedCredentialContext;
  readonly #placements: readonly Placement[];
  readonly #held: AcquiredToken;
  readonly #token: RenewedToken;
  readonly #login: CredentialLogin | undefined;
  #built: { readonly token: HeldToken; readonly injection: Injection } | undefined;
  #secrets: readonly string[];

  constructor(service: MintedService, context: MintedCredentialContext, order: TokenOrder) {
    const { auth, ws } = service;
    this.#service = service;
    this.#context = context;
    this.#placements = placementsOf(auth, ws);
    this.places = describePlaces(this.#placements);
    this.#sourceId = context.nameSource(order.account);
    this.#held = context.tokens.acquire(order);
    this.#token = this.#held.token;
    const { rotating } = this.#held;
    const isFromLogin = order.binding !== undefined && order.binding.configured === undefined;
    if (isFromLogin && rotating !== undefined) {
      this.#login = new CredentialLogin({ ...this.#held, rotating }, service, order.account, context);
      this.setLogin = (next) => (this.#login as CredentialLogin).replace(next);
    }
    this.#secrets = returnableSecrets(service);
  }

  get sourceId(): string {
    return this.#login === undefined ? this.#sourceId : this.#login.sourceId;
  }

  get missing(): MissingCredential | undefined {
    const missing = this.#login?.missing;
    if (missing !== undefined) return missing;
    const reason = this.#token.unavailable;
    return reason === undefined ? undefined : this.#describeFailure(reason);
  }

  get(): Injection | Promise<Injection> {
    if (this.#login?.missing !== undefined) {
      const refusal = decideCredential(this, this.#service.key);
      if (refusal !== undefined) throw refusal;
      return NOTHING;
    }
    const token = this.#token.get();
    return token instanceof Promise ? token.then((each) => this.#injectionOf(each)) : this.#injectionOf(token);
  }

  isPending(): boolean {
    return this.#login?.missing === undefined && this.#token.isPending;
  }

  renew(refused: Injection): Promise<void> | undefined {
    const built = this.#built;
    if (refused === NOTHING || this.#login?.isAccessToken) return undefined;
    // Another request has renewed it.
    if (built?.injection !== refused) return Promise.resolve();
    return this.#token.renew(built.token);
  }

  async refresh(): Promise<string | undefined> {
    if (this.#login?.missing !== undefined) return "no login has taken place";
    if (this.#login?.isAccessToken) return "its login gave no refresh token";
    const failure = await this.#token.refresh();
    return failure && `its token endpoint ${failure}`;
  }

  readonly secrets = (): readonly string[] => this.#secrets;

  describe(): CredentialSource {
    const { credential } = this.#service;
    const text = this.#login?.token;
    const secrets =
      text === undefined
        ? credential.secrets
        : credential.secrets.map((each) => (each.login ? { ...each, secret: new Secret(text) } : each));
    return { ...credential, secrets, token: this.#token.describe() };
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
    const login = this.#login === undefined ? "" : ` If the access was revoked, run byteproxy login ${key}.`;
    return {
      isRequired: auth.required,
      isUnavailable: true,
      message: `its token endpoint ${reason}.`,
      hint: `It is asked again by itself.${login} The log and the check credential:${key} of /manage/diagnostics show operators its state.`,
    };
  }
}
