/** The sources of a pool's credentials by themselves; every other credential is one. */
import { entriesOf } from "./auth-entries.ts";
import type { AuthDefinition } from "./auth-schema.ts";
import { type CredentialSource, nameSources } from "./credential-source.ts";

export interface OneCredential {
  readonly auth: AuthDefinition;
  /** With the names of the secrets that a credential outside of a pool has. */
  readonly credential: CredentialSource;
}

interface WithCredential {
  readonly auth?: AuthDefinition | undefined;
  readonly credential?: CredentialSource | undefined;
}

/** Empty for a service without a credential. */
export function credentialsOf({ auth, credential }: WithCredential): OneCredential[] {
  if (auth === undefined || credential === undefined) return [];
  if (auth.type !== "pool") return [{ auth, credential }];
  const { withheld } = credential;
  return entriesOf(auth).map((entry) => {
    const secrets = credential.secrets.flatMap((named) =>
      named.name.startsWith(entry.prefix) ? { ...named, name: named.name.slice(entry.prefix.length) } : [],
    );
    const source = { source: nameSources(secrets), secrets };
    return { auth: entry.auth, credential: withheld === undefined ? source : { ...source, withheld } };
  });
}
