/** deploy/grafana and deploy/prometheus: valid PromQL over metrics and labels that this gateway has. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parser } from "@prometheus-io/lezer-promql";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { startGateway } from "../support/gateway.ts";

const inRepository = (path: string) => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), "utf8");

/** Grafana replaces these before Prometheus reads the query. */
const VARIABLES = /\$__rate_interval|\$service/g;
const replaceVariables = (expression: string) =>
  expression.replace(VARIABLES, (name) => (name === "$service" ? "a|b" : "5m"));

/** The first part of an expression that is no PromQL; undefined for a valid one. */
function syntaxError(expression: string): string | undefined {
  const cursor = parser.parse(expression).cursor();
  do {
    if (cursor.type.isError) return `${expression.slice(0, cursor.from)} <here> ${expression.slice(cursor.from)}`;
  } while (cursor.next());
  return undefined;
}

const metricsIn = (expression: string) =>
  [...expression.matchAll(/\bbyteproxy_[a-z_]+/g)].map(([name]) => name.replace(/_(?:bucket|sum|count)$/, ""));

/** Labels that an expression selects or groups by. */
const labelsIn = (expression: string) =>
  [
    ...[...expression.matchAll(/\b(?:by|without) \(([^)]*)\)/g)].flatMap(([, names = ""]) => names.split(",")),
    ...[...expression.matchAll(/([a-z_]+) ?(?:=~|!~|!=|=)"/g)].map((match) => match[1] as string),
  ].map((name) => name.trim());

/** Added by Prometheus, or by its histograms. */
const LABELS_OF_PROMETHEUS = ["instance", "job", "le"];

/** What this gateway exports. */
async function readExports() {
  const gateway = await startGateway({
    services: { api: { baseUrl: "http://127.0.0.1:9/", auth: { type: "bearer", tokenEnvVar: "API_TOKEN" } } },
    // A JSON Web Token that ends in 2100.
    env: { API_TOKEN: "e30.eyJleHAiOjQxMDI0NDQ4MDB9.c2lnbmF0dXJl", REDIS_URL: "redis://127.0.0.1:9" },
  });
  for (const path of ["/proxy/api/", "/proxy/none/"]) await (await fetch(`${gateway.url}${path}`)).text();
  const text = await (await fetch(`${gateway.url}/metrics`)).text();
  return {
    names: new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map((match) => match[1] as string)),
    labels: new Set([...text.matchAll(/[{,]([a-z_]+)="/g)].map((match) => match[1] as string)),
  };
}

async function expectTrue(expressions: readonly string[]): Promise<void> {
  const { names, labels } = await readExports();
  expect(expressions.length).toBeGreaterThan(0);
  for (const expression of expressions) {
    expect(syntaxError(expression)).toBeUndefined();
    for (const name of metricsIn(expression)) expect(names, expression).toContain(name);
    for (const label of labelsIn(expression)) {
      if (!LABELS_OF_PROMETHEUS.includes(label)) expect(labels, expression).toContain(label);
    }
  }
}

it("The check of an expression finds a syntax error, so it can fail", () => {
  expect(syntaxError('sum(rate(byteproxy_requests_total{service="a"}[5m])')).toContain("<here>");
  expect(syntaxError("sum by (service) (byteproxy_in_flight)")).toBeUndefined();
});

describe("deploy/prometheus/alerts.yaml", () => {
  const { groups } = parse(inRepository("deploy/prometheus/alerts.yaml")) as {
    groups: {
      name: string;
      rules: { alert: string; expr: string; for?: string; annotations: Record<string, string> }[];
    }[];
  };
  const rules = groups.flatMap((group) => group.rules);

  it("Every alert is an expression over metrics and labels of the gateway", async () => {
    await expectTrue(rules.map(({ expr }) => expr));
  });

  it("Every alert says for how long, what happened and what to do", () => {
    for (const rule of rules) {
      expect(rule.for ?? "1m", rule.alert).toMatch(/^\d+[smhd]$/);
      expect(Object.keys(rule.annotations), rule.alert).toEqual(["summary", "description"]);
    }
  });

  it("An alert names only labels that its expression keeps", () => {
    for (const { expr, annotations } of rules) {
      const used = [
        ...Object.values(annotations)
          .join(" ")
          .matchAll(/\$labels\.([a-z_]+)/g),
      ].map((match) => match[1]);
      for (const label of used) {
        if (expr.includes(" by ")) expect(labelsIn(expr), expr).toContain(label);
      }
    }
  });
});

describe("deploy/grafana/dashboard.json", () => {
  const dashboard = JSON.parse(inRepository("deploy/grafana/dashboard.json")) as {
    templating: { list: { name: string; query: unknown }[] };
    panels: {
      id: number;
      title: string;
      gridPos: { x: number; y: number; w: number; h: number };
      targets: { expr: string }[];
    }[];
  };

  it("Every panel is a query over metrics and labels of the gateway", async () => {
    for (const panel of dashboard.panels) expect(panel.targets.length, panel.title).toBeGreaterThan(0);
    await expectTrue(dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => replaceVariables(expr))));
  });

  it("Panels have ids of their own and do not overlap", () => {
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)},${y + Math.floor(i / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
  });
});
