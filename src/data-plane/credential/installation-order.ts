/** How the installation tokens of a service of type `github-app` are obtained. */
import { readAppKey } from "../../config/assertion-settings.ts";
import type { EndpointAccess } from "./endpoint-exchange.ts";
import { createInstallation } from "./installation-token.ts";
import type { MintedService } from "./minted-credential.ts";
import type { TokenOrder } from "./renewed-tokens.ts";

/** @param secrets by name: `privateKey`. */
export function orderInstallationToken(
  { auth, baseUrl, key: serviceKey }: MintedService,
  secrets: ReadonlyMap<string, string>,
  { send, way }: EndpointAccess,
): TokenOrder {
  const { required: _, ...requested } = auth;
  const signingKey = readAppKey(secrets.get("privateKey") ?? "");
  const installation = createInstallation({ auth, baseUrl, signingKey, send });
  return {
    serviceKey,
    // GitHub counts the requests of an installation, whatever its tokens are for.
    account: JSON.stringify(["github-app", baseUrl, auth.appId, auth.installationId ?? auth.owner]),
    shareKey: JSON.stringify([requested, baseUrl, [...secrets], way]),
    fetchToken: (signal) => installation.fetchToken(signal),
  };
}
