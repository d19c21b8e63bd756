// Chromium, driven by Playwright, with what every test of a page needs.

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { fail } from './fail.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** How long one step may take, such as a press on a button. The stack serves many tests at the same time. */
const PATIENCE_MS = 20_000;

export const SCREENSHOTS = here('../../.local/screenshots/');

export function launch() {
  const program = execFileSync(here('chromium.sh'), { encoding: 'utf8' }).trim(); // Says what to install if there is none.
  rmSync(SCREENSHOTS, { recursive: true, force: true });
  mkdirSync(SCREENSHOTS, { recursive: true });
  const off = ['LocalNetworkAccessChecks', 'PrivateNetworkAccessRespectPreflightResults']; // A page of a test's host frames one of loopback.
  const args = ['--no-sandbox', '--disable-background-networking', '--disable-gpu', '--disable-dev-shm-usage', `--disable-features=${off}`];
  return chromium.launch({ executablePath: program, args, timeout: PATIENCE_MS });
}

/** A page of its own, which notes requests, and whatever the browser complains about. */
export async function newPage(browser, options = {}) {
  const context = await browser.newContext({ permissions: ['clipboard-read', 'clipboard-write'], locale: 'en-GB', ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const notes = { requests: [], complaints: [] };
  page.on('request', (request) => notes.requests.push(`${request.method()} ${request.url()}`));
  page.on('console', (one) => { if (['error', 'warning'].includes(one.type())) notes.complaints.push(one.text()); });
  page.on('pageerror', (error) => notes.complaints.push(error.stack));
  return Object.assign(page, { notes, done: () => context.close() });
}

/** Runs a script beside the page's policy, as developer tools do. */
async function evaluate(page, expression) {
  const tools = await page.context().newCDPSession(page);
  const { result, exceptionDetails } = await tools.send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
  await tools.detach();
  if (exceptionDetails) fail(exceptionDetails.exception?.description ?? exceptionDetails.text);
  return result.value;
}

/** Fails if axe finds what keeps people out. */
export async function checkAccess(page, name) {
  const run = `axe.run(document, { runOnly: ${JSON.stringify(RULES)} })`;
  const violations = await evaluate(page, `${AXE}; ${run}.then(({ violations }) => violations)`);
  const found = violations.map(({ id, help, nodes }) => `${id}: ${help}\n    ${nodes.map(({ html }) => html.slice(0, 160)).join('\n    ')}`);
  if (found.length) fail(`${name} has violations:\n  ${found.join('\n  ')}`);
}

/** Fails if the page is wider than the window. */
export async function checkWidth(page, name) {
  const [inner, needed] = await page.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);
  if (needed > inner) fail(`${name} needs ${needed} pixels, and the window has ${inner}`);
  const wide = await page.evaluate(() => [...document.querySelectorAll('dialog[open]')].filter((one) => one.scrollWidth > one.clientWidth + 1).length);
  if (wide) fail(`${name}: the dialog scrolls sideways`);
}

export const screenshot = (page, name, options) => page.screenshot({ path: `${SCREENSHOTS}${name}.png`, ...options });
