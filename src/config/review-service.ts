/**
 * What can only be judged of a service as a whole: names that meet, TLS files, credentials in clear.
 * Invariant: looks and reports; the service goes on as it is.
 */
import { createSecureContext } from "node:tls";
import { isLoopbackHost, isPrivateHost } from "./hosts.ts";
import { readTextFile } from "./read-file.ts";
import { isFromRest, type Service } from "./schema.ts";
import type { Findings, FoundProblem, Path } from "./translate-issue.ts";

export function reviewService(service: Service, findings: Findings): void {
  reviewHeaderNames(service, findings);
  reviewTls(service, findings);
  reviewClearText(service, findings);
}

/** Two headers of one name would leave it to chance, or to a library, which of them is sent. */
function reviewHeaderNames(service: Service, { problems }: Findings): void {
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
      problems.push({
        path: ["services", service.key, ...path],
        at: path[0] === "auth" ? "value" : "name",
        text: `found ${name} once more, after ${first[0] === "auth" ? "auth" : String(first[0])}, allowed: each header in one place`,
      });
    }
  }
}

const NO_CERTIFICATE = "found no certificate that can be read, allowed: a PEM file";

function reviewTls({ key, tls, source }: Service, { problems, warnings }: Findings): void {
  const found = (list: FoundProblem[], text: string, ...names: string[]) =>
    list.push({ path: ["services", key, "tls", ...names], at: "value", text });
  if (tls.strict === false) found(warnings, `the certificate of ${key} is not verified`, "strict");
  const pem = (name: "caFile" | "certFile" | "keyFile") => {
    const file = tls[name];
    const reading = file === undefined ? undefined : readTextFile(file, isFromRest(source));
    if (reading === undefined || reading.state === "read") return reading?.text;
    if (isFromRest(source)) {
      // Which files there are is no business of whoever may add services.
      found(problems, NO_CERTIFICATE, name);
      return undefined;
    }
    const reason = reading.state === "absent" ? "there is no such file" : reading.reason;
    found(problems, `cannot be read: ${reason}, allowed: a PEM file`, name);
    return undefined;
  };
  const [ca, cert, privateKey] = [pem("caFile"), pem("certFile"), pem("keyFile")];
  if (ca !== undefined && !/-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----/.test(ca)) {
    found(
      problems,
      isFromRest(source) ? NO_CERTIFICATE : "found no certificate in the file, allowed: a PEM file",
      "caFile",
    );
  }
  if ((tls.certFile === undefined) !== (tls.keyFile === undefined)) {
    found(problems, "found one of certFile and keyFile, allowed: both or neither");
  } else if (cert !== undefined && privateKey !== undefined && !isPair(cert, privateKey)) {
    found(
      problems,
      "found files that are no pair, allowed: a PEM certificate and its key without a passphrase",
      "certFile",
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

function reviewClearText(service: Service, { warnings }: Findings): void {
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
    warnings.push({
      path: ["services", service.key, ...path],
      at: "value",
      text: `the credential of ${service.key} goes to ${hostname} in clear text; use https`,
    });
  }
}
