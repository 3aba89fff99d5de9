/** What the check `credential` finds, and what to do. */
import { POOL_FINDINGS } from "./pooled-credentials.ts";

/** By what is wrong. */
export const CREDENTIAL_FINDINGS = {
  missing: {
    status: "fail",
    symptom: "401 UPSTREAM_CREDENTIAL_MISSING",
    fix: "Set the variable or file in evidence.source and reload, or set auth.required to false.",
  },
  login: {
    status: "fail",
    symptom: "401 UPSTREAM_CREDENTIAL_MISSING",
    fix: "Run byteproxy login <service> in the folder of the gateway. A change of the base URLs, tokenUrl or the client ends the login before.",
  },
  withheld: {
    status: "fail",
    symptom: "401 UPSTREAM_CREDENTIAL_MISSING although the secret is set",
    fix: "The secret is bound to another origin or place. Add it to REST_SECRETS as described in the warning of the check config.",
  },
  commandFails: {
    status: "fail",
    symptom: "502 UPSTREAM_CREDENTIAL_UNAVAILABLE",
    fix: "Run the command of evidence.source as the gateway's user, in its folder and without a terminal. It must print the secret alone and end within 10 seconds.",
  },
  commandFailsLately: {
    status: "warn",
    symptom: "the command of a credential fails, and its last secret is still used",
    fix: "Run the command of evidence.source as the gateway's user. When the secret is ten times as old as its TTL, requests get 502.",
  },
  tokenFails: {
    status: "fail",
    symptom: "502 UPSTREAM_CREDENTIAL_UNAVAILABLE",
    fix: "Check tokenUrl, the client and its secret or key, and scope; for type github-app appId, the private key and the installation. The log has the reason of a failed connection. After a fix of the client at the provider, POST /manage/services/<key>/credential/refresh. If the access of a login was revoked, byteproxy login <key>.",
  },
  tokenFailsLately: {
    status: "warn",
    symptom: "the token endpoint fails, and the last token is still used",
    fix: "Check the token endpoint before evidence.token.expiresAt: then requests get 502.",
  },
  promoted: {
    status: "warn",
    symptom: "a rotation is not finished",
    fix: "Put the secret of evidence.rotation.source into the source of the current secret and reload. Then revoke the secret before, and empty the source of the next one.",
  },
  rolledBack: {
    status: "warn",
    symptom: "a rotation was rolled back",
    fix: "Check the next secret at its provider: its account, its permissions and whether it is complete. Then start the rotation again.",
  },
  expired: {
    status: "fail",
    symptom: "401 from the upstream, because the credential has expired",
    fix: "Create a new secret at the provider and set it in evidence.source.",
  },
  expiresSoon: {
    status: "warn",
    symptom: "the credential expires within two weeks",
    fix: "Create a new secret at the provider and rotate to it: docs/rotation.md.",
  },
  dormant: {
    status: "warn",
    symptom: "no request has had the credential for 30 days",
    fix: "Revoke it at the provider and remove the service, if nothing needs it any more.",
  },
  unneeded: {
    status: "warn",
    symptom: "the credential has scopes that no request needed",
    fix: "Create a secret with fewer scopes and rotate to it. Rare requests may need a scope that none of evidence.life.scopes.responses needed.",
  },
  optional: {
    status: "warn",
    symptom: "requests are sent without a credential",
    fix: "Set the variable or file in evidence.source. Ignore this if the upstream needs no credential.",
  },
  refused: {
    status: "fail",
    symptom: "401 or 403 from the upstream",
    fix: "The credential is expired, revoked, of the wrong kind, or lacks a permission. Create a new one and set it in evidence.source.",
  },
  refusedLately: {
    status: "warn",
    symptom: "401 or 403 from the upstream to some requests",
    fix: "The upstream accepts the credential, but not for all requests. Give it the missing permissions.",
  },
  scheme: {
    status: "warn",
    symptom: "the secret was set together with its scheme",
    fix: "Remove the scheme (Bearer, Bot, token or Basic) from the variable or file in evidence.source: the gateway adds it.",
  },
  quoted: {
    status: "warn",
    symptom: "401 from the upstream, because quotes are sent as a part of the secret",
    fix: "Remove the quotes from the variable or file in evidence.source: docker --env-file and Kubernetes do not remove them.",
  },
  short: {
    status: "warn",
    symptom: "a secret that the upstream sends back in a header, or in a body despite `scrubBodies`, is not masked",
    fix: "Use a secret of at least 8 bytes: a shorter text occurs by chance, so the gateway does not search for it.",
  },
  inBaseUrl: {
    status: "warn",
    symptom: "a secret is in baseUrl, where no variable or file can hold it",
    fix: "Keep the services file private, and create a new secret if others have read it. The gateway masks the secret in the log and in its responses, and shows callers only the origin of baseUrl.",
  },
  ...POOL_FINDINGS,
  stale: {
    status: "warn",
    symptom: "a new token has no effect",
    fix: "POST /manage/reload reads the env files again. A variable of the process environment needs a restart.",
  },
} as const;
