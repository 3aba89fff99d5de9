/**
 * What can only be judged of a service as a whole: names that meet, TLS files, credentials in clear.
 * Invariant: looks and reports; the service goes on as it is.
 */
import { createSecureContext } from "node:tls";
import { isLoopbackHost, isPrivateHost } from "./hosts.ts";
import { readTextFile } from "./read-file.ts";
import type { Service } from "./schema.ts";
import type { ServicesFile } from "./services-file.ts";
import type { Path } from "./translate-issue.ts";

export interface ReviewContext {
  readonly place: ServicesFile["place"];
  readonly problems: string[];
  readonly warnings: string[];
}

export function reviewService(service: Service, context: ReviewContext): void {
  reviewHeaderNames(service, context);
  reviewTls(service, context);
  reviewClearText(service, context);
}

/** Two headers of one name would leave it to chance, or to a library, which of them is sent. */
function reviewHeaderNames(service: Service, { place, problems }: ReviewContext): void {
  const names: { path: Path; name: string }[] = [];
  for (const member of ["headers", "setHeaders"] as const) {
    for (const name of Object.keys(service[member])) names.push({ path: [member, name], name });
  }
  const { auth } = service;
  if (auth?.headerName !== undefined) names.push({ path: ["auth", "headerName"], name: auth.headerName });
  else if (auth !== undefined && auth.queryParam === undefined) names.push({ path: ["auth"], name: "Authorization" });

  const seen = new Map<string, Path>();
  for (const { path, name } of names) {
    const first = seen.get(name.toLowerCase());
    if (first === undefined) seen.set(name.toLowerCase(), path);
    else {
      const where = place(["services", service.key, ...path], path[0] === "auth" ? "value" : "name");
      problems.push(
        `${where}: found ${name} once more, after ${first[0] === "auth" ? "auth" : String(first[0])}, allowed: each header in one place`,
      );
    }
  }
}

function reviewTls({ key, tls }: Service, { place, problems, warnings }: ReviewContext): void {
  const path = ["services", key, "tls"];
  if (tls.strict === false) warnings.push(`${place([...path, "strict"])}: the certificate of ${key} is not verified`);
  const pem = (name: "caFile" | "certFile" | "keyFile") => {
    const file = tls[name];
    const reading = file === undefined ? undefined : readTextFile(file);
    if (reading === undefined || reading.state === "read") return reading?.text;
    const reason = reading.state === "absent" ? "there is no such file" : reading.reason;
    problems.push(`${place([...path, name])}: cannot be read: ${reason}, allowed: a PEM file`);
    return undefined;
  };
  const [ca, cert, privateKey] = [pem("caFile"), pem("certFile"), pem("keyFile")];
  if (ca !== undefined && !/-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----/.test(ca)) {
    problems.push(`${place([...path, "caFile"])}: found no certificate in the file, allowed: a PEM file`);
  }
  if ((tls.certFile === undefined) !== (tls.keyFile === undefined)) {
    problems.push(`${place(path)}: found one of certFile and keyFile, allowed: both or neither`);
  } else if (cert !== undefined && privateKey !== undefined && !isPair(cert, privateKey)) {
    problems.push(
      `${place([...path, "certFile"])}: found files that are no pair, allowed: a PEM certificate and its key without a passphrase`,
    );
  }
}

function isPair(cert: string, key: string): boolean {
  try {
    createSecureContext({ cert, key });
    return true;
  } catch {
    return false;
  }
}

function reviewClearText(service: Service, { place, warnings }: ReviewContext): void {
  if (service.auth === undefined) return;
  const bases: [Path, string][] = [
    [["baseUrl"], service.baseUrl],
    ...Object.entries(service.versionedBaseUrls).map(([version, url]): [Path, string] => [
      ["versionedBaseUrls", version],
      url,
    ]),
  ];
  for (const [path, text] of bases) {
    const { protocol, hostname } = new URL(text);
    if (protocol === "https:" || isLoopbackHost(hostname) || isPrivateHost(hostname)) continue;
    warnings.push(
      `${place(["services", service.key, ...path])}: the credential of ${service.key} goes to ${hostname} in clear text; use https`,
    );
  }
}
