/**
 * The part of a credential that a person obtains with `byteproxy login`: whether it is there, which account it is, and its replacement.
 * Invariant: another login is another source of the credential, because it may be another account of the upstream.
 */
import { randomUUID } from "node:crypto";
import { unusableLogin } from "../../config/login-binding.ts";
import { NO_OWN_KEY } from "../../config/unusable-secret.ts";
import { GatewayError } from "../../errors.ts";
import type { LoginToken, MissingCredential } from "./credential-provider.ts";
import type { AcquiredToken } from "./renewed-tokens.ts";
import type { RotatingToken } from "./rotating-token.ts";

interface LoginContext {
  readonly nameSource: (text: string) => string;
  readonly isOwnKey: (text: string) => boolean;
}

export class CredentialLogin {
  readonly #rotating: RotatingToken;
  readonly #held: AcquiredToken;
  readonly #service: { readonly key: string; readonly auth: { readonly required: boolean } };
  readonly #account: string;
  readonly #context: LoginContext;
  #source: { readonly login: string | undefined; readonly id: string } | undefined;

  /** @param account names the client at the upstream. */
  constructor(
    held: AcquiredToken & { readonly rotating: RotatingToken },
    service: { readonly key: string; readonly auth: { readonly required: boolean } },
    account: string,
    context: LoginContext,
  ) {
    this.#rotating = held.rotating;
    this.#held = held;
    this.#service = service;
    this.#account = account;
    this.#context = context;
  }

  /** Undefined before a login. */
  get token(): string | undefined {
    return this.#rotating.current;
  }

  /** Nothing can renew the access token of such a login. */
  get isAccessToken(): boolean {
    return this.#rotating.login?.isAccessToken === true;
  }

  get missing(): MissingCredential | undefined {
    if (this.token !== undefined) return undefined;
    const { key, auth } = this.#service;
    return {
      isRequired: auth.required,
      message: "no login has taken place.",
      hint: `Run byteproxy login ${key} where the gateway runs.`,
    };
  }

  get sourceId(): string {
    const login = this.#rotating.login?.id;
    if (this.#source === undefined || this.#source.login !== login) {
      this.#source = { login, id: this.#context.nameSource(JSON.stringify([this.#account, login])) };
    }
    return this.#source.id;
  }

  /** @throws GatewayError VALIDATION_ERROR, or the store's failure. */
  async replace(next: LoginToken | undefined): Promise<void> {
    if (next === undefined) return this.#held.replaceLogin(undefined);
    const { token, isAccessToken, scope } = next;
    const allowed = this.#context.isOwnKey(token) ? NO_OWN_KEY : unusableLogin(token, isAccessToken);
    if (allowed !== undefined) throw unusable(allowed);
    const kind = isAccessToken ? ({ isAccessToken: true, scope } as const) : {};
    await this.#held.replaceLogin({ token, login: { id: randomUUID(), ...kind } });
  }
}

function unusable(allowed: string): GatewayError {
  return new GatewayError("VALIDATION_ERROR", {
    message: `The token of the login cannot be used, allowed: ${allowed}.`,
    hint: "Log in again. If the provider issues such tokens, its tokens cannot be used here.",
    extra: { details: { token: [`allowed: ${allowed}`] } },
  });
}
