/** What `byteproxy login` needs of a service: its client, and the endpoints of its authorization server. */
import type { AuthDefinition } from "../config/auth-schema.ts";
import type { Config } from "../config/load-config.ts";
import { textsBesideLogin } from "../config/login-binding.ts";
import type { Service } from "../config/schema.ts";
import { beginDeviceLogin } from "../data-plane/credential/device-login.ts";
import { endpointsOf } from "../data-plane/credential/discovery.ts";
import { beginLogin, type LoginClient } from "../data-plane/credential/login-tokens.ts";
import { assertionsOf } from "../data-plane/credential/oauth2-order.ts";
import { loginAccess, type UpstreamContext } from "./upstreams.ts";

export interface LoginFlows {
  /** What the login is for. */
  readonly auth: AuthDefinition;
  readonly inBrowser: (redirectUri: string) => ReturnType<typeof beginLogin>;
  readonly onDevice: (signal: AbortSignal) => ReturnType<typeof beginDeviceLogin>;
}

/** @param service whose refresh token comes from a login. @returns undefined where a secret of its client is missing. @throws TokenFailure */
export async function openLoginFlows(
  service: Service & { readonly auth: AuthDefinition },
  context: { readonly settings: Config["settings"]; readonly ownListeners: UpstreamContext["ownListeners"] },
  signal: AbortSignal,
): Promise<LoginFlows | undefined> {
  const { auth, credential } = service;
  const secrets = credential && textsBesideLogin(credential);
  if (secrets === undefined) return undefined;
  const send = loginAccess(service, context);
  const endpoints = await endpointsOf(auth, send).get(signal);
  const client: LoginClient = { auth, secrets, assertions: assertionsOf(auth, secrets), endpoints, send };
  return {
    auth,
    inBrowser: (redirectUri) => beginLogin(client, redirectUri),
    onDevice: (waitSignal) => beginDeviceLogin(client, waitSignal),
  };
}
