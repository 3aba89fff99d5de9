/** The certificate of an upstream: whether it is taken, and for how long it still will be. */
import { conclude, type Problem, type ServiceCheck } from "./check.ts";

const FINDS = {
  refused: {
    status: "fail",
    symptom: "502 UPSTREAM_TLS_ERROR",
    fix: "The summary says why. Expired, or not valid yet: this machine's clock (check clock), or the upstream must renew it. Self-signed, or an authority that is not known, as behind a proxy that opens TLS: tls.caFile or NODE_EXTRA_CA_CERTS. Another name: baseUrl or tls.servername.",
  },
  expiring: {
    status: "warn",
    symptom: "502 UPSTREAM_TLS_ERROR from the day in evidence.certificate.validTo on",
    fix: "Whoever runs the upstream must renew its certificate.",
  },
  unverified: {
    status: "warn",
    symptom: "whoever stands between the gateway and the upstream can read the credential",
    fix: "Take STRICT_TLS=false or tls.strict: false away; tls.caFile trusts a private authority.",
  },
  unseen: {
    status: "warn",
    symptom: "the certificate could not be looked at",
    fix: "Mend the connection first: the check reach of the same service says what stands in the way.",
  },
} as const;

const SOON_DAYS = 14;

export const tls: ServiceCheck = {
  id: "tls",
  needs: "configuration",
  looksAt: "the certificate of each https upstream in use",
  finds: FINDS,
  async run({ service, isTlsStrict }, _, looks) {
    if (!service.baseUrl.toLowerCase().startsWith("https:")) return undefined;
    const look = await looks.of(service.key);
    const certificate = look?.certificate ?? null;
    const evidence = { certificate, strict: isTlsStrict };
    const problems: Problem[] = [];
    if (!isTlsStrict)
      problems.push({ find: FINDS.unverified, words: `the certificate of ${service.key} is not verified` });
    if (look?.code === "UPSTREAM_TLS_ERROR") problems.push({ find: FINDS.refused, words: look.error ?? "TLS failed" });
    else if (certificate === null)
      problems.push({ find: FINDS.unseen, words: `no certificate of ${service.key} was seen` });
    else if (certificate.daysLeft < SOON_DAYS && isTlsStrict) {
      problems.push({
        find: FINDS.expiring,
        words: `the certificate of ${service.key} expires in ${certificate.daysLeft} days`,
      });
    }
    return conclude(problems, `the certificate is valid for ${certificate?.daysLeft} days more`, evidence);
  },
};
