/** The kinds of credential that are one secret, injected as it is: bearer, bot, basic and api-key. */
import type { AuthDefinition, CredentialSource, Service } from "../../config/schema.ts";
import {
  type CredentialPlace,
  type CredentialProvider,
  createEmptyProvider,
  createFixedProvider,
  type Injection,
  type MissingCredential,
} from "./credential-provider.ts";

/**
 * @param nameSource turns a secret into a name that does not reveal it. Another secret is another source, because it may
 * belong to another account of the upstream.
 */
export function createStaticCredential(
  { auth, credential }: Pick<Service, "auth" | "credential">,
  nameSource: (secret: string) => string,
): CredentialProvider {
  const secret = credential?.secret?.reveal();
  if (auth === undefined || secret === undefined) {
    return createEmptyProvider(auth && { isRequired: auth.required, ...describeMissing(credential) });
  }
  const { place, injection } = placeSecret(secret, auth);
  return createFixedProvider(nameSource(secret), [place], injection);
}

function describeMissing(credential: CredentialSource | undefined): Pick<MissingCredential, "message" | "hint"> {
  if (credential?.withheld !== undefined) return credential.withheld;
  // The path of the file is for operators, who see it in /manage.
  if (credential?.path !== undefined) {
    return {
      message: "its token file is missing or empty.",
      hint: "Put the secret into the file that `tokenFile` names.",
    };
  }
  const source = credential?.source ?? "its secret";
  return {
    message: `${source} is empty or not set.`,
    hint: `Set ${source} and restart, or put it into .env and reload.`,
  };
}

interface PlacedSecret {
  readonly place: CredentialPlace;
  readonly injection: Injection;
}

function placeSecret(secret: string, auth: AuthDefinition): PlacedSecret {
  switch (auth.type) {
    // RFC 6750 section 2.1.
    case "bearer":
      return inHeader("Authorization", `Bearer ${secret}`);
    // Discord's form for bots.
    case "bot":
      return inHeader("Authorization", `Bot ${secret}`);
    // RFC 7617 section 2; the secret is `user:password`.
    case "basic":
      return inHeader("Authorization", `Basic ${Buffer.from(secret, "utf8").toString("base64")}`);
    case "api-key":
      if (auth.headerName !== undefined) return inHeader(auth.headerName, secret);
      // The schema demands exactly one of headerName and queryParam.
      return inQuery(auth.queryParam as string, secret);
  }
}

function inHeader(name: string, value: string): PlacedSecret {
  return { place: { kind: "header", name }, injection: { headers: [name, value], query: "" } };
}

function inQuery(name: string, secret: string): PlacedSecret {
  const query = `${name}=${encodeURIComponent(secret)}`;
  return { place: { kind: "query", name }, injection: { headers: [], query } };
}
