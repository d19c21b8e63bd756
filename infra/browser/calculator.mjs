// Tests of docs/calculator.html in Chromium: its bills are those that infra/bench/cost.py computes.
//
//     node calculator.mjs

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { checkAccess, checkWidth, launch, newPage } from './browser.mjs';
import { fail } from './fail.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const expected = JSON.parse(execFileSync('python3', [here('../bench/cost.py'), '--bills'], { encoding: 'utf8', maxBuffer: 1e8 }));

const browser = await launch();
const page = await newPage(browser);
await page.goto(new URL('../../docs/calculator.html', import.meta.url).href);

const found = await page.evaluate((bills) => bills.map(({ month }) => bill(month)), expected);
expected.forEach(({ month, bill }, at) => {
  const lines = found[at];
  if (JSON.stringify(Object.keys(lines)) !== JSON.stringify(Object.keys(bill))) fail(`other lines: ${Object.keys(lines)}`);
  for (const [name, dollars] of Object.entries(bill)) {
    if (Math.abs(lines[name] - dollars) > 1e-9 * Math.max(1, dollars)) fail(`${name} of ${JSON.stringify(month)}: ${lines[name]}, not ${dollars}`);
  }
});

// By hand, as a reader: the shown total is that of the bill, and a wrong number is named while the last bill stays.
const shown = () => page.locator('#all').textContent();
const before = await shown();
await page.getByLabel('Deliveries a month').fill('250000000');
await page.getByLabel('Events come').selectOption('http1');
await page.getByLabel('Payload in KB').fill('63.5');
await page.getByLabel('Days that events are kept').fill('90');
await page.getByLabel('Percent of deliveries').fill('2.5');
await page.getByLabel('So little traffic').check();
await page.getByLabel('Dashboard').uncheck();
const [wanted] = expected.filter(({ month }) => month.millions === 250 && month.way === 'http1' && month.is_quiet && month.payload_kb === 63.5
  && month.retention_days === 90 && month.given_up_percent === 2.5 && month.has_recovery);
const total = Object.values(wanted.bill).reduce((sum, dollars) => sum + dollars, 0);
const text = total.toLocaleString('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 });
if (await shown() !== text || before === text) fail(`the page shows ${await shown()}, not ${text}`);
await page.getByLabel('Payload in KB').fill('-1');
const fault = await page.getByRole('alert').textContent();
if (!fault.includes('Payload in KB') || await shown() !== text) fail(`a wrong payload is answered with \`${fault}\` and ${await shown()}`);
await page.getByLabel('Payload in KB').fill('1');
if (await page.getByRole('alert').textContent() !== '') fail('the fault stays');

await checkAccess(page, 'the calculator');
await page.setViewportSize({ width: 360, height: 700 });
await checkWidth(page, 'the calculator');
if (page.notes.complaints.length || page.notes.requests.length !== 1) fail(`complaints: ${page.notes.complaints}; requests: ${page.notes.requests}`);
await browser.close();
console.log(`✓ ${expected.length} bills of the calculator`);
