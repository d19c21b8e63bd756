// Tests of the integrators' page in Chromium, against the local stack: real links, real deliveries, real signatures.
//
//     node page.mjs [PART OF A TEST'S NAME]
//
// Needs the settings of the local stack in its environment. Prints a line for each test, and exits with 1 if one fails.
// Screenshots are in .local/screenshots.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { checkAccess, checkWidth, launch, newPage, screenshot } from './browser.mjs';
import { fail } from './fail.mjs';
import { API_URL, Receiver, createEndpoint, createLink, deliveriesOf, makeLate, message, newTenant, operate, sendEvents, sweep, until } from './stack.mjs';

/** How long all tests may take, and one of them. Other tests use the machine at the same time. */
const [ALL_SECONDS, ONE_SECONDS] = [240, 90];
const AT_ONCE = 3;
const EVERYTHING = ['view', 'test', 'replay', 'edit', 'secret'];
const ALGORITHMS = ['RS256', 'ES256', 'EdDSA'];
const FORMATS = ['jws', 'standard-webhooks', 'http-message-signatures'];
const HOSTILE = '</script><img src=x onerror="document.title=1"><!-- \u202egnp.exe\u202c \u200f\u2066\ud83d\ude00';
const QUEUE = 'arn:aws:sqs:us-east-1:111122223333:browser'; // Of the account that the stack's DestinationRoleArns names.
const ROLE = 'arn:aws:iam::111122223333:role/webhooks-browser';
const INVOICE = {
  description: 'An invoice was paid.', example: { amount: 10.5, currency: 'EUR' },
  schema: { type: 'object', required: ['amount'], properties: { amount: { type: 'number' } } },
};
const LISTED = 'https://listed.example'; // The stack's PortalFrameAncestors.

/** Spells a value, with the members of objects by their names. */
const spelled = (value) => JSON.stringify(value, (_, one) => (one?.constructor === Object ? Object.fromEntries(Object.entries(one).sort()) : one));
const equal = (found, expected, what) => {
  if (spelled(found) !== spelled(expected)) fail(`${what}: found ${spelled(found)}; expected ${spelled(expected)}`);
};
const contains = (text, part, what) => (text.includes(part) ? null : fail(`${what}: \`${part}\` is not in \`${text.slice(0, 500)}\``));

// ---- The scene: a tenant with endpoints of all kinds, and another tenant ----

async function makeScene() {
  const [tenant, other] = [newTenant(), newTenant()];
  const good = await new Receiver(() => ({ status: 204 })).start();
  const bad = await new Receiver(() => ({ status: 500, text: `<h1>${HOSTILE}</h1>` })).start();
  const settings = {
    url: `${good.url}/plain`, signatures: FORMATS, types: [{ type: 'paid' }], description: 'Approved payments',
  };
  const of = (more) => createEndpoint(tenant, { ...settings, ...more });
  const typePath = (name) => `/v1/tenants/${tenant}/event-types/${name}`;
  await operate('PUT', typePath('invoice.paid'), INVOICE);
  await operate('PUT', typePath('invoice.old'), { ...INVOICE, description: HOSTILE, deprecated: true });
  const toQueue = { destination: { kind: 'sqs', queueArn: QUEUE, roleArn: ROLE } };
  const [plain, hostile, broken, wrong, disabled, bulk, filtered, erased, queue, ...signing] = await Promise.all([
    of({}),
    of({ url: `${good.url}/hostile`, types: [{ type: 'hostile' }], description: HOSTILE }),
    of({ url: `${bad.url}/broken`, types: [{ type: 'broken' }], retry: { schedule: [1] } }),
    of({ url: `${bad.url}/wrong`, types: [{ type: 'wrong' }], retry: { maxRetries: 0 } }),
    of({ url: `${good.url}/disabled`, types: [{ type: 'nothing' }] }),
    of({ url: `${good.url}/bulk`, types: [{ type: 'bulk' }] }),
    of({ url: `${good.url}/filtered`, types: [{ type: 'filtered' }, { type: 'operation', statuses: ['APPROVED'] }] }),
    of({ url: `${good.url}/erased`, types: [{ type: 'erased' }] }),
    createEndpoint(tenant, { ...toQueue, types: [{ type: 'queued' }], retry: { maxRetries: 0 } }),
    ...ALGORITHMS.map((jwsAlgorithm) => of({ url: `${good.url}/${jwsAlgorithm}?own=1`, jwsAlgorithm, types: [{ type: 'signed' }] })),
    of({ url: `${good.url}/get?own=1`, method: 'GET', types: [{ type: 'signed' }] }),
  ]);
  const theirs = await createEndpoint(other, { ...settings, url: `${good.url}/theirs` });
  const size = 256 * 1024 - 600 - Buffer.byteLength(JSON.stringify(HOSTILE).repeat(2));
  await Promise.all([
    operate('POST', `/v1/tenants/${tenant}/endpoints/${disabled.id}/disable`),
    sendEvents(tenant, 'paid', Array.from({ length: 55 }, (_, at) => `payment-${at + 1}`)),
    sendEvents(tenant, 'broken', ['broken-1', 'broken-2', 'broken-3']),
    sendEvents(tenant, 'wrong', ['wrong-1']),
    sendEvents(tenant, 'hostile', ['hostile-1'], { text: HOSTILE, [HOSTILE]: 1, long: 'x'.repeat(size) }),
    sendEvents(tenant, 'bulk', ['bulk-1', 'bulk-2', 'bulk-3']),
    sendEvents(tenant, 'filtered', ['filtered-1']),
    sendEvents(tenant, 'erased', ['erased-1']),
    sendEvents(tenant, 'queued', ['queued-1']),
    sendEvents(other, 'paid', ['their-payment']),
  ]);
  await Promise.all([
    deliveriesOf(tenant, plain.id, 'delivered', 50), deliveriesOf(tenant, broken.id, 'exhausted', 3),
    deliveriesOf(tenant, wrong.id, 'exhausted', 1), deliveriesOf(tenant, hostile.id, 'delivered', 1),
    deliveriesOf(tenant, bulk.id, 'delivered', 3), deliveriesOf(tenant, filtered.id, 'delivered', 1),
    deliveriesOf(tenant, erased.id, 'delivered', 1), deliveriesOf(tenant, queue.id, 'exhausted', 1),
    deliveriesOf(other, theirs.id, 'delivered', 1),
  ]);
  await operate('DELETE', `/v1/tenants/${tenant}/events/erased-1?source=%2Fbrowser`);
  return { bulk, filtered, erased, queue, tenant, other, good, bad, plain, hostile, broken, wrong, disabled, signing, theirs };
}

// ---- What tests do on the page ----

/** Opens a session with a new link of these rights. */
async function enter(scene, browser, { can = EVERYTHING, endpoints = '*', query = '', ...options } = {}) {
  const { url } = await createLink(scene.tenant, { can, endpoints, name: 'Acme Pay' });
  const page = await newPage(browser, options);
  await page.goto(url.replace('#', `${query}#`));
  await page.getByRole('button', { name: 'Open' }).click();
  await page.getByRole('button', { name: 'End it now' }).waitFor();
  return page;
}

const tab = (endpoint, name) => `?endpoint=${endpoint.id}&tab=${name}`;
const delivery = (endpoint, event) => `?endpoint=${endpoint.id}&event=${event}&source=${encodeURIComponent('/browser')}`;

/** Goes to another part of the page in the same session. */
async function go(page, query) {
  await page.goto(`${API_URL}/portal/${query}`);
  await settled(page);
}

const settled = (page) => page.waitForFunction(() => ![...document.querySelectorAll('.quiet')].some((one) => one.textContent === 'Loading…'));

/** Saves the settings, and waits for the form with the new ones. */
async function save(page) {
  await page.locator('#said').evaluate((one) => { one.textContent = ''; }); // It may still speak of the save before.
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved.').waitFor();
  await settled(page);
}

/** Verifies a request in the page, and returns what it says: the sentences, and the steps that failed. */
async function verify(place, request, secret = '') {
  await place.getByLabel('Request as your server got it').fill(request);
  await place.getByLabel('Signing secret').fill(secret);
  const verdicts = place.locator('[data-verdicts]');
  await place.getByRole('button', { name: 'Verify', exact: true }).click();
  await place.locator('button:enabled').filter({ hasText: /^Verify$/ }).waitFor();
  return { said: await verdicts.locator('.sentence').allTextContents(), failed: await verdicts.locator('[data-step]').allTextContents() };
}

const VALID = ['✓ jws-signature: valid', '✓ webhook-signature: valid', '✓ signature: valid'];

/** The screens, each with what shows that it is there. */
const screens = (scene) => ({
  endpoints: ['', (page) => page.getByRole('table')],
  deliveries: [tab(scene.plain, 'deliveries'), (page) => page.getByText('Deliveries per hour').first()],
  settings: [tab(scene.plain, 'settings'), (page) => page.getByLabel('URL of your server')],
  'settings of a queue': [tab(scene.queue, 'settings'), (page) => page.getByText('External id', { exact: true })],
  'deliveries of an erased event': [tab(scene.erased, 'deliveries'), (page) => page.getByRole('button', { name: 'erased-1' })],
  'an erased event': [delivery(scene.erased, 'erased-1'), (page) => page.getByText('Erased by the sender')],
  security: [tab(scene.plain, 'security'), (page) => page.getByText('Copy', { exact: true }).first()],
  test: [tab(scene.plain, 'test'), (page) => page.getByRole('button', { name: 'Send it' })],
  delivery: [delivery(scene.broken, 'broken-1'), (page) => page.getByText('Attempt 2')],
  keys: ['?view=keys', (page) => page.getByText('In use').or(page.getByText('in use')).first()],
  catalogue: ['?view=catalogue', (page) => page.getByText('operation', { exact: true })],
  help: ['?view=help', (page) => page.getByText('Answer 2xx, and soon')],
});

// ---- The tests ----

const TESTS = {
  async 'a link opens by a press, and three requests show the first content'(scene, browser) {
    const { url } = await createLink(scene.tenant, { can: EVERYTHING, name: 'Acme Pay' });
    const page = await newPage(browser);
    await page.goto(url);
    await page.getByRole('button', { name: 'Open' }).waitFor();
    equal(page.notes.requests.length, 1, 'requests before the press, so that no scanner of mail uses the link up');
    equal(new URL(page.url()).hash, '', 'the code in the address');
    await screenshot(page, 'open');
    await checkAccess(page, 'the screen before the session');
    await page.getByRole('button', { name: 'Open' }).click();
    await page.getByRole('table').waitFor();
    equal(page.notes.requests.map((one) => one.split('?')[0].replace(API_URL, '')),
      ['GET /portal/', 'POST /portal/session', 'GET /portal/api/endpoints'], 'requests to the first content');
    contains(await page.getByRole('banner').textContent(), 'Webhooks of Acme Pay', 'whose page it is');
    await page.reload();
    await page.getByRole('table').waitFor(); // The session outlives a reload.
    return page;
  },

  async 'a used, late, ended or unknown link opens nothing, and the page says what to do'(scene, browser) {
    const [used, late, ended] = await Promise.all([1, 2, 3].map(() => createLink(scene.tenant, {})));
    const page = await newPage(browser);
    await makeLate(scene.tenant, late.id);
    await operate('DELETE', `/v1/tenants/${scene.tenant}/portal-links/${ended.id}`);
    const first = await newPage(browser);
    await first.goto(used.url);
    await first.getByRole('button', { name: 'Open' }).click();
    await first.getByRole('table').waitFor();
    await first.done();
    for (const url of [used.url, late.url, ended.url, used.url.replace(/#.*/, `#${'A'.repeat(43)}`)]) {
      await page.goto('about:blank');
      await page.goto(url);
      await page.getByRole('button', { name: 'Open' }).click();
      contains(await page.getByRole('alert').getByText('ask').textContent(), 'for a new one', url);
    }
    await page.goto(used.url.replace(/#.*/, ''));
    contains(await page.getByRole('main').textContent(), 'opens by a link', 'the page without a code');
    page.notes.complaints = page.notes.complaints.filter((one) => !one.includes('status of 401'));
    return page;
  },

  async 'every screen is accessible in light and dark, and fits 320 pixels'(scene, browser) {
    const page = await enter(scene, browser, { viewport: { width: 1280, height: 900 } });
    for (const [name, [query, shown]] of Object.entries(screens(scene))) {
      await go(page, query);
      await shown(page).waitFor();
      await page.evaluate(() => document.querySelectorAll('details').forEach((one) => { one.open = true; }));
      for (const colorScheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
        await settled(page); // What opens may load.
        await checkAccess(page, `${name}, ${colorScheme}`);
        await screenshot(page, `${name}-${colorScheme}`, { fullPage: name !== 'delivery' });
      }
      await page.setViewportSize({ width: 320, height: 640 });
      await checkWidth(page, name);
      await screenshot(page, `${name}-narrow`);
      await page.setViewportSize({ width: 1280, height: 900 });
    }
    page.notes.complaints = page.notes.complaints.filter((one) => !one.includes('status of 410')); // The erased event.
    return page;
  },

  async 'an integrator finds out why a delivery failed, corrects the URL, sends again, and verifies'(scene, browser) {
    const { wrong, good } = scene;
    const page = await enter(scene, browser, { viewport: { width: 1280, height: 900 } });
    await page.getByRole('link', { name: wrong.url }).click();
    await page.getByRole('button', { name: 'wrong-1' }).click();
    const dialog = page.getByRole('dialog');
    contains(await dialog.locator('.sentence').first().textContent(), 'endpoint answered 500; answer 2xx to acknowledge', 'the cause');
    await page.keyboard.press('Escape');

    await page.getByRole('link', { name: 'Settings' }).click();
    await page.getByLabel('URL of your server').fill('ftp://nowhere');
    await page.getByRole('button', { name: 'Save' }).click();
    const url = page.getByLabel('URL of your server');
    await until('the fault at its field', () => url.evaluate((one) => one === document.activeElement && one.getAttribute('aria-invalid')));
    contains(await url.evaluate((one) => document.getElementById(one.getAttribute('aria-describedby')).textContent), 'expected', 'the fault');
    await url.fill(`${good.url}/corrected`);
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Saved.').waitFor();

    await page.getByRole('link', { name: 'Deliveries' }).click();
    await page.getByRole('button', { name: 'wrong-1' }).click();
    const [said, attempts] = [dialog.locator('.sentence').first(), dialog.locator('summary')];
    while (!(await said.textContent()).includes('Delivered')) { // For ten seconds, a request may still go to the old URL.
      const before = await attempts.count();
      await dialog.getByRole('button', { name: 'Send again' }).click();
      await until('the attempt', async () => {
        await dialog.getByRole('button', { name: 'Refresh' }).click();
        return (await attempts.count()) > before;
      });
    }
    await dialog.getByRole('button', { name: 'Verify in this browser' }).click();
    const prefilled = await dialog.getByLabel('Request as your server got it').inputValue();
    const [attempt] = /signpost-attempt: \d+/.exec(prefilled); // The delivery may have been sent again more than once.
    const arrived = good.received.find(({ target, headers }) => target === '/corrected' && attempt === `signpost-attempt: ${headers['signpost-attempt']}`)
      ?? fail(`${attempt} is not among ${JSON.stringify(good.received.filter(({ target }) => target === '/corrected').map(({ headers }) => headers))}`);
    contains(prefilled, arrived.body.toString(), 'the body, rebuilt from the record');
    const withSignatures = prefilled.replace(/^([\w-]+): $/gm, (line, name) => `${name}: ${arrived.headers[name]}`);
    equal(await verify(dialog, withSignatures, wrong.signingSecret), { said: VALID, failed: [] }, 'the verification');
    await dialog.getByRole('button', { name: 'Verify', exact: true }).scrollIntoViewIfNeeded();
    await screenshot(page, 'verified');
    page.notes.complaints = page.notes.complaints.filter((one) => !one.includes('status of 400'));
    return page;
  },

  async 'the browser verifies every format and algorithm, and names the step that fails'(scene, browser) {
    const page = await enter(scene, browser, { query: tab(scene.signing[0], 'security') });
    for (const endpoint of scene.signing) {
      const path = new URL(endpoint.url).pathname;
      const id = `signed-${path.slice(1)}`;
      await sendEvents(scene.tenant, 'signed', [id]);
      const request = await scene.good.request(id, path);
      const real = message(request);
      await go(page, tab(endpoint, 'security'));
      const place = page.getByRole('region', { name: 'Verify a request here' });
      const expect = async (text, steps, secret = endpoint.signingSecret) => {
        const { said, failed } = await verify(place, text, secret);
        equal([said.length, failed], [3, steps], `${path}, ${steps}`);
      };
      await expect(real, []);
      if (request.method === 'GET') {
        await expect(real.replace('10.5', '10.6'), ['signature', 'signature', 'signature']);
        continue;
      }
      await expect(real.replace('10.5', '10.6'), ['signature', 'signature', 'signature']);
      await expect(real.replace('{"', '{ "'), ['body-reencoded', 'body-reencoded', 'body-reencoded']);
      await expect(real.slice(0, real.length - request.body.length), ['body-missing', 'body-missing', 'body-missing']);
      await expect(real.slice(0, -5), ['body-cut', 'body-cut', 'body-cut']);
      await expect(real.replace(/webhook-id: .*\n/, ''), ['header-missing', 'header-missing']);
      await expect(real, ['secret'], scene.plain.signingSecret);
      const unknown = '00000000-0000-4000-8000-000000000000';
      const { kid } = JSON.parse(Buffer.from(request.headers['jws-signature'].split('.')[0], 'base64url'));
      const renamed = real.replace(/(jws-signature: )[^.]*/, (_, name) => name + Buffer.from(JSON.stringify({ alg: endpoint.jwsAlgorithm, kid: unknown, typ: 'JWT' })).toString('base64url'));
      await expect(renamed.replace(kid, unknown), ['kid-unknown', 'kid-unknown']);
      await expect(real.replace('"@method" ', ''), ['component-missing']);
      await expect(real.replace(/(jws-signature: )[^.]*/, '$1e30'), ['malformed']);
    }
    return page;
  },

  async 'code in the page verifies a real request'(scene, browser) {
    const page = await enter(scene, browser, { query: tab(scene.signing[1], 'security') });
    const endpoint = scene.signing[1];
    await sendEvents(scene.tenant, 'signed', ['signed-by-code']);
    const { headers, body } = await scene.good.request('signed-by-code', '/ES256');
    const place = page.getByRole('region', { name: 'Code that verifies' });
    await place.getByLabel('Language').waitFor();
    const codeOf = async (format, language) => {
      await place.getByLabel('Format').selectOption(format);
      await place.getByLabel('Language').selectOption(language);
      return place.locator('pre').textContent();
    };
    for (const format of FORMATS) {
      for (const language of ['Java', 'Go', 'PHP', 'C#']) {
        const code = await codeOf(format, language);
        if (/KEYS_URL|ENDPOINT_ID|ENDPOINT_URL|ALGORITHM\b/.test(code)) fail(`${format} in ${language} lacks a value`);
        contains(code, format === 'standard-webhooks' ? endpoint.id : 'ES256', `${format} in ${language}`);
      }
      for (const [language, program, extension] of [['Python', 'python', 'py'], ['JavaScript', 'node', 'mjs']]) {
        const code = await codeOf(format, language);
        const run = (bytes) => runExample(program, extension, code, headers, bytes, endpoint.signingSecret);
        equal(run(body), 'verified', `${format} in ${language}`);
        equal(run(Buffer.concat([body, Buffer.from(' ')])), 'refused', `${format} in ${language}, changed`);
      }
    }
    return page;
  },

  async 'hostile texts stay texts'(scene, browser) {
    const page = await enter(scene, browser);
    await page.getByText('U+202E').first().waitFor(); // The description, with the sign that turns text around made visible.
    await go(page, delivery(scene.hostile, 'hostile-1'));
    const dialog = page.getByRole('dialog');
    const payload = dialog.getByRole('region', { name: 'Payload' });
    contains(await payload.textContent(), '</script><img src=x onerror=', 'the payload');
    if ((await payload.textContent()).length < 250_000) fail('the payload was cut');
    equal(/[\u202e\u200f\u2066]/.test(await page.locator('body').evaluate((one) => one.innerText)), false, 'signs that turn text around');
    await dialog.getByRole('button', { name: 'Copy as curl' }).click();
    await page.getByText('Copied: the command.').waitFor();
    contains(await page.evaluate(() => navigator.clipboard.readText()), '\u202e', 'the command has the payload as it was sent');
    await dialog.getByRole('button', { name: 'Verify in this browser' }).click();
    await dialog.getByLabel('Request as your server got it').waitFor();
    const sent = await scene.good.request('hostile-1');
    const real = message(sent);
    equal((await verify(dialog, real, scene.hostile.signingSecret)).said, VALID, 'a large request');
    await screenshot(page, 'hostile');
    await go(page, delivery(scene.broken, 'broken-1'));
    await dialog.getByText('Attempt 1').click();
    contains(await dialog.getByRole('region', { name: 'Answer to attempt 1' }).textContent(), '<h1></script><img', 'the answer');
    equal(await page.locator('img, h1 img').count(), 0, 'elements made of texts');
    contains(await page.title(), 'Webhooks', 'the title, which the script in the texts would change');
    return page;
  },

  async 'nothing of another tenant or another endpoint can be seen by its address'(scene, browser) {
    const page = await enter(scene, browser, { endpoints: [scene.plain.id] });
    await page.getByText('1 endpoint').waitFor();
    equal(await page.getByText(scene.broken.url).count(), 0, 'the list');
    const unknown = { id: `ep_${'0'.repeat(32)}` };
    const tries = [
      ...['deliveries', 'settings', 'security'].flatMap((name) => [scene.theirs, scene.broken, unknown].map((one) => tab(one, name))),
      delivery(scene.theirs, 'their-payment'), delivery(scene.plain, 'their-payment'), delivery(scene.plain, 'broken-1'), delivery(scene.plain, 'nothing'),
    ];
    const told = new Map();
    for (const query of tries) {
      await go(page, query);
      const place = query.includes('event=') ? page.getByRole('dialog') : page.getByRole('main');
      await place.locator('.fault').first().waitFor();
      const kind = query.replace(/ep_\w+/, (id) => (id === scene.plain.id ? 'own' : 'other')).replace(/event=[\w-]+/, 'event');
      const faults = (await place.locator('.fault').allTextContents()).join(' ').replace(/ep_\w+/g, '');
      equal(faults, told.get(kind) ?? faults, `${query} says what an unknown one says`);
      told.set(kind, faults);
      const text = await page.locator('body').textContent();
      for (const secret of [scene.theirs.url, scene.broken.url, 'John Smith']) if (text.includes(secret)) fail(`${query} shows ${secret}`);
    }
    page.notes.complaints = page.notes.complaints.filter((one) => !one.includes('status of 404'));
    return page;
  },

  async 'only a listed page shows it in a frame, and hears when the session ends'(scene, browser) {
    const framed = async (origin) => {
      const { url, id } = await createLink(scene.tenant, { can: ['view'] });
      const page = await newPage(browser);
      const html = `<!doctype html><title>Outside</title><iframe title="Webhooks" width="900" height="600" src="${url}"></iframe><script>
        addEventListener('message', (event) => { document.title = JSON.stringify([event.origin, event.data]); });</script>`;
      await page.route(`${origin}/**`, (route) => route.fulfill({ contentType: 'text/html', body: html }));
      await page.goto(`${origin}/`);
      return { page, id, frame: page.frameLocator('iframe') };
    };
    const unlisted = await framed('https://unlisted.example');
    await until('the refusal', () => unlisted.page.notes.complaints.some((one) => /frame-ancestors|violates|Refused|blocked/i.test(one)));
    equal(await unlisted.frame.getByRole('button', { name: 'Open' }).count(), 0, 'the page in an unlisted frame');
    await unlisted.page.done();

    const { page, id, frame } = await framed(LISTED);
    await frame.getByRole('button', { name: 'Open' }).click();
    await frame.getByRole('table').waitFor();
    await screenshot(page, 'frame');
    await operate('DELETE', `/v1/tenants/${scene.tenant}/portal-links/${id}`);
    await frame.getByRole('link', { name: 'Keys' }).click();
    await frame.getByText('This link has ended').waitFor();
    await page.waitForFunction(() => document.title !== 'Outside');
    equal(JSON.parse(await page.title()), [new URL(API_URL).origin, { type: 'signpost.session-ended' }], 'what the parent hears');
    page.notes.complaints = page.notes.complaints.filter((one) => !one.includes('status of 401'));
    return page;
  },

  async 'a panel whose request fails leaves the others, and can be tried again'(scene, browser) {
    const page = await enter(scene, browser, { query: tab(scene.plain, 'security') });
    let isBroken = true;
    await page.route('**/portal/api/keys', (route) => (isBroken ? route.fulfill({ status: 500, contentType: 'text/html', body: '<h1>oops</h1>' }) : route.continue()));
    await page.route('**/portal/api/endpoints/*/deliveries*', (route) => (isBroken ? route.abort() : route.continue()));
    await page.reload();
    await page.getByText('The server answered 500. Try again.').first().waitFor();
    await page.getByRole('region', { name: 'Signing secret' }).getByRole('table').waitFor();
    await page.getByRole('region', { name: 'Code that verifies' }).getByLabel('Language').waitFor();
    await screenshot(page, 'one-panel-fails');
    await page.getByRole('link', { name: 'Deliveries' }).click();
    await page.getByText('The server cannot be reached').waitFor();
    contains(await page.locator('.sentence').first().textContent(), 'Nothing is wrong now', 'the endpoint');
    isBroken = false;
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.getByRole('button', { name: 'payment-1', exact: true }).or(page.getByText('Newest first')).first().waitFor();
    page.notes.complaints = page.notes.complaints.filter((one) => !/status of 500|ERR_FAILED/.test(one));
    return page;
  },

  async 'everything works by keyboard, and the focus comes back'(scene, browser) {
    const { url } = await createLink(scene.tenant, { can: EVERYTHING });
    const page = await newPage(browser, { viewport: { width: 1280, height: 900 } });
    await page.goto(url);
    await page.getByRole('button', { name: 'Open' }).waitFor();
    const focused = () => page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.getAttribute('aria-label') || document.activeElement.tagName);
    const tabTo = async (text, most = 40) => {
      for (let presses = 0; presses < most; presses += 1) {
        await page.keyboard.press('Tab');
        if ((await focused()).startsWith(text)) return;
      }
      fail(`the key Tab does not reach \`${text}\`; it is at \`${await focused()}\``);
    };
    await tabTo('Open');
    await page.keyboard.press('Enter');
    await page.getByRole('table').waitFor();
    equal(await focused(), 'Endpoints', 'the focus on a new screen');
    await tabTo(scene.plain.url);
    await page.keyboard.press('Enter');
    await page.getByText('Newest first').waitFor();
    equal(await page.evaluate(() => document.activeElement.tagName), 'H1', 'the focus on a new screen');
    await tabTo('payment-');
    const chosen = await focused();
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineWidth);
    equal(outline, '3px', 'the outline of the focus');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').locator('summary').first().waitFor();
    await tabTo('Attempt 1');
    await page.keyboard.press('Enter');
    await page.getByText('Headers that were sent').waitFor();
    await page.keyboard.press('Escape');
    equal(await focused(), chosen, 'the focus after a dialog');
    await page.getByRole('button', { name: 'Refresh' }).focus();
    await page.keyboard.press('Enter');
    await tabTo('Choose');
    const box = await page.evaluate(() => document.activeElement.getAttribute('aria-label'));
    await page.keyboard.press('Space');
    equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), box, 'the focus after a change of the list');
    equal(await page.getByRole('button', { name: 'Send chosen again' }).isEnabled(), true, 'what can be done with the choice');
    await page.goBack();
    await page.getByText('Approved payments').first().waitFor();
    return page;
  },

  async 'deliveries are filtered by the address, paged, and sent again after a question'(scene, browser) {
    const { broken, plain, tenant } = scene;
    const page = await enter(scene, browser, { query: `?endpoint=${broken.id}&status=exhausted` });
    await page.getByRole('button', { name: 'broken-1' }).waitFor();
    equal(await page.getByLabel('State').inputValue(), 'exhausted', 'the filter');
    await page.getByLabel('State').selectOption('delivered');
    await page.getByText('No delivery fits').waitFor();
    contains(page.url(), 'status=delivered', 'the address');
    await page.getByLabel('State').selectOption('exhausted');
    await page.getByRole('button', { name: 'broken-1' }).waitFor();
    for (const number of [1, 2, 3]) await page.getByLabel(`Choose broken-${number}`, { exact: true }).check();
    await page.getByRole('button', { name: 'Send chosen again' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Send 3 deliveries again' }).waitFor();
    await checkAccess(page, 'the question');
    await screenshot(page, 'send-again');
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    equal((await deliveriesOf(tenant, broken.id, 'exhausted', 3)).length, 3, 'after the question alone');

    await page.getByRole('button', { name: 'Send chosen again' }).click();
    let answered = 0;
    await page.route('**/replay*', async (route) => {
      answered += 1;
      if (answered === 1) return route.fulfill({ status: 429, headers: { 'retry-after': '1' }, json: { status: 429, title: '', detail: 'wait' } });
      if (answered === 4) await new Promise((resume) => { setTimeout(resume, 1_500); });
      return route.continue();
    });
    await dialog.getByRole('button', { name: 'Send 3 deliveries again' }).click();
    await dialog.getByText('The limit of this minute').waitFor();
    await dialog.getByText('2 of 3 done').waitFor();
    await dialog.getByRole('button', { name: 'Stop' }).click();
    await dialog.getByText(/Stopped: [23] of 3 done, 0 refused/).waitFor();
    await page.unroute('**/replay*');
    await dialog.getByRole('button', { name: 'Close' }).click();

    await go(page, tab(plain, 'deliveries'));
    await page.getByRole('button', { name: 'Show older ones' }).click();
    await until('all deliveries', async () => (await page.getByRole('button', { name: /^payment-\d+$/ }).count()) === 55);
    await page.getByLabel('Choose payment-7', { exact: true }).check();
    await page.getByLabel('Choose payment-8', { exact: true }).check();
    await page.getByRole('button', { name: 'Send chosen again' }).click();
    await dialog.getByRole('button', { name: 'Send 2 deliveries again' }).click();
    await dialog.getByText('Finished: 2 of 2 done, 0 refused').waitFor();
    page.notes.complaints = page.notes.complaints.filter((one) => !one.includes('status of 429'));
    await until('the replay', async () => scene.good.received.some(({ headers }) => headers['webhook-id'].startsWith('payment-7:') && headers['signpost-replay'] === 'replay'));
    return page;
  },

  async 'many deliveries are counted, sent again in the background, and stopped'(scene, browser) {
    const { bulk, good, tenant } = scene;
    const page = await enter(scene, browser, { endpoints: [bulk.id], query: `?endpoint=${bulk.id}&status=delivered&since=24` });
    await page.getByRole('button', { name: 'bulk-1' }).waitFor();
    const dialog = page.getByRole('dialog');
    const count = async (times) => {
      await page.getByRole('button', { name: 'Send many again' }).click();
      equal(await dialog.getByLabel('State').inputValue(), 'delivered', 'the filter of the list');
      await dialog.getByLabel('Event types').fill('another');
      await dialog.getByRole('button', { name: 'Count them' }).click();
      await dialog.getByText('0 deliveries would be sent again').waitFor();
      equal(await dialog.getByRole('button', { name: /^Send/ }).count(), 0, 'nothing to send');
      await dialog.getByLabel('Event types').fill('bulk, another');
      equal(await dialog.getByText('would be sent again').count(), 0, 'the count of another filter');
      await dialog.getByRole('button', { name: 'Count them' }).click();
      await dialog.getByText(`${times} deliveries would be sent again`).waitFor();
    };
    await count(3);
    await checkAccess(page, 'the count');
    await screenshot(page, 'bulk-count');
    equal((await operate('GET', `/v1/tenants/${tenant}/replays`)).replays.length, 0, 'the count alone starts nothing');
    await dialog.getByRole('button', { name: 'Send 3 deliveries again' }).click();
    await page.getByText('Running').waitFor();
    await checkAccess(page, 'the progress');
    await screenshot(page, 'bulk-progress');
    await page.reload();
    await page.getByText('Running').or(page.getByText('Done')).first().waitFor(); // Somebody else's sweep may be faster.
    await until('the end', async () => { await sweep(); return page.getByText('Done').isVisible(); });
    await until('all three again', async () => good.received.filter(({ target, headers }) => target === '/bulk' && headers['signpost-replay'] === 'replay').length === 3);
    await deliveriesOf(tenant, bulk.id, 'delivered', 3);

    await count(3);
    await dialog.getByRole('button', { name: 'Send 3 deliveries again' }).click();
    const stop = page.getByRole('button', { name: 'Stop sending again' });
    await stop.click();
    await stop.waitFor({ state: 'detached' });
    const [newest] = (await operate('GET', `/v1/tenants/${tenant}/replays`)).replays;
    equal([newest.state === 'running', newest.filter.endpoints], [false, [bulk.id]], 'the replay');
    return page;
  },

  async 'event types of the tenant are shown, chosen for an endpoint, and tested'(scene, browser) {
    const endpoint = await createEndpoint(scene.tenant, { url: `${scene.good.url}/typed`, types: [{ type: 'operation', statuses: ['APPROVED'] }, { type: 'unlisted' }] });
    const page = await enter(scene, browser, { query: '?view=catalogue' });
    await page.getByText('An invoice was paid.').click();
    contains(await page.getByRole('region', { name: 'Schema of invoice.paid' }).textContent(), '"required"', 'the schema');
    contains(await page.getByRole('region', { name: 'Example of invoice.paid' }).textContent(), '"currency": "EUR"', 'the example');
    contains(await page.locator('summary').filter({ hasText: 'invoice.old' }).textContent(), 'Deprecated', 'a deprecated type');
    equal((await page.getByRole('heading', { level: 2 }).allTextContents()), ['Types of Acme Pay', 'Payload formats of vendors'], 'the parts');

    await go(page, tab(endpoint, 'settings'));
    await page.getByText('Event types: operation, unlisted').click();
    equal(await page.getByLabel('Only these statuses of operation').inputValue(), 'APPROVED', 'the statuses');
    await page.getByLabel('invoice.paid', { exact: true }).check();
    await page.getByLabel('unlisted', { exact: true }).uncheck();
    await page.getByLabel('Only these statuses of operation').fill('APPROVED, REJECTED');
    await page.getByLabel('Another type').fill('my.own');
    await page.getByRole('button', { name: 'Add it' }).click();
    await page.getByText(/^Event types: .*my\.own/).waitFor();
    await page.getByLabel('Only these statuses of operation').fill('DONE');
    await page.getByRole('button', { name: 'Save' }).click();
    const other = page.getByLabel('Another type');
    await until('the fault at the types', () => other.evaluate((one) => one.getAttribute('aria-invalid')));
    await page.getByLabel('Only these statuses of operation').fill('APPROVED, REJECTED');
    await save(page);
    const { types } = await operate('GET', `/v1/tenants/${scene.tenant}/endpoints/${endpoint.id}`);
    const expected = [{ type: 'invoice.paid' }, { type: 'my.own' }, { type: 'operation', statuses: ['APPROVED', 'REJECTED'] }];
    equal(types.sort((one, two) => one.type.localeCompare(two.type)), expected, 'the types');

    await go(page, tab(endpoint, 'test'));
    await page.getByLabel('Type').selectOption('invoice.paid');
    contains(await page.getByRole('region', { name: 'Example' }).textContent(), '"amount": 10.5', 'the example');
    await page.getByRole('button', { name: 'Send it' }).click();
    await page.getByRole('dialog').getByText('Delivered by attempt 1: your server answered 204.').waitFor();
    const sent = scene.good.received.findLast(({ target }) => target === '/typed');
    equal([JSON.parse(sent.body), sent.headers['ce-type']], [INVOICE.example, 'invoice.paid'], 'what arrived');
    page.notes.complaints = page.notes.complaints.filter((one) => !/status of 40[04]/.test(one));
    return page;
  },

  async 'a filter is tried on events, set, shown and removed'(scene, browser) {
    const { filtered, tenant } = scene;
    const page = await enter(scene, browser, { query: tab(filtered, 'settings') });
    const filter = page.getByLabel('Filter, as an EventBridge pattern');
    const stored = async () => (await operate('GET', `/v1/tenants/${tenant}/endpoints/${filtered.id}`)).filter;
    await filter.fill('{"data": {"amount": [{"numeric": [">", 100]}]}}');
    await page.getByText('Try the filter').click();
    await page.getByLabel('Event', { exact: true }).selectOption({ label: 'Recent: filtered-1' });
    const event = page.getByLabel('Event, as a CloudEvent in JSON');
    await until('the event', async () => (await event.inputValue()).includes('"filtered-1"'));
    await page.getByRole('button', { name: 'Try it' }).click();
    await page.getByText('The event does not fit the filter').waitFor();
    const row = page.getByRole('row').filter({ hasText: '/data/amount' });
    contains(await row.textContent(), '10.5', 'what was found');
    await checkAccess(page, 'a filter that differs');
    await screenshot(page, 'filter');
    await filter.fill('{"data": {"amount": [{"numeric": [">", 10]}]}}');
    await page.getByRole('button', { name: 'Try it' }).click();
    await page.getByText('The event fits the filter.').waitFor();
    await page.getByLabel('Event', { exact: true }).selectOption({ label: 'Example of invoice.paid' });
    await until('the example', async () => (await event.inputValue()).includes('"currency"'));
    await page.getByRole('button', { name: 'Try it' }).click();
    await page.getByText('The event fits the filter.').waitFor();
    await event.fill('{"specversion": "1.0"');
    await page.getByRole('button', { name: 'Try it' }).click();
    await page.getByText('The event is not JSON').waitFor();
    equal(await stored(), null, 'a filter that was only tried');

    await filter.fill('{"data": {"amount": "10"}}');
    await page.getByRole('button', { name: 'Save' }).click();
    await until('the fault at its field', () => filter.evaluate((one) => one === document.activeElement && one.getAttribute('aria-invalid')));
    await filter.fill('{"data": {"amount": [{"numeric": [">", 10]}]}, "type": ["filtered"]}');
    await save(page);
    equal(JSON.parse(await filter.inputValue()), await stored(), 'the filter in the form');
    await filter.fill('{"type": ["filtered"]}');
    await page.getByLabel('Attributes of CloudEvents').selectOption('structured');
    await save(page);
    equal(await stored(), { type: ['filtered'] }, 'a smaller filter');
    equal((await operate('GET', `/v1/tenants/${tenant}/endpoints/${filtered.id}`)).cloudEvents, 'structured', 'the setting');
    equal(await page.getByLabel('Attributes of CloudEvents').inputValue(), 'structured', 'the setting in the form');
    await page.getByRole('button', { name: 'Remove the filter' }).click();
    await save(page);
    equal(await stored(), null, 'no filter');
    const { types } = await operate('GET', `/v1/tenants/${tenant}/endpoints/${filtered.id}`);
    equal(types, filtered.types, 'the types, which nobody changed');
    page.notes.complaints = page.notes.complaints.filter((one) => !one.includes('status of 400'));
    return page;
  },

  async 'an endpoint with a queue or a bus is added, shown and changed'(scene, browser) {
    const page = await enter(scene, browser);
    await page.getByRole('link', { name: QUEUE }).first().waitFor();
    await page.getByText('Add an endpoint').click();
    await page.getByLabel('Send to').selectOption('SQS queue');
    equal(await page.getByLabel('URL of your server').isVisible(), false, 'the URL');
    await page.getByLabel('ARN of the queue or bus').fill(`${QUEUE}.fifo`);
    await page.getByLabel('ARN of the role').fill('arn:aws:iam::111122223333:role/unlisted');
    await page.getByRole('button', { name: 'Add', exact: true }).click();
    await page.getByText('/destination/roleArn').waitFor();
    await page.getByLabel('ARN of the role').fill(ROLE);
    await page.getByRole('button', { name: 'Add', exact: true }).click();
    await page.getByText(/^whsec_/).waitFor();
    await page.getByRole('heading', { level: 1, name: `${QUEUE}.fifo` }).waitFor();
    await page.getByRole('link', { name: 'Settings' }).click();
    const id = new URL(page.url()).searchParams.get('endpoint');
    const stored = () => operate('GET', `/v1/tenants/${scene.tenant}/endpoints/${id}`);
    const { externalId, assumedBy } = (await stored()).destination;
    await page.getByText(externalId).waitFor();
    await page.getByText(assumedBy).waitFor();
    await page.getByLabel('ARN of the queue or bus').fill(QUEUE);
    await save(page);
    equal((await stored()).destination, { kind: 'sqs', queueArn: QUEUE, roleArn: ROLE, externalId, assumedBy }, 'another queue');
    const bus = 'arn:aws:events:us-east-1:111122223333:event-bus/browser';
    await page.getByLabel('Send to').selectOption('EventBridge bus');
    await page.getByLabel('ARN of the queue or bus').fill(bus);
    await save(page);
    equal((await stored()).destination, { kind: 'eventBridge', busArn: bus, roleArn: ROLE, externalId, assumedBy }, 'a bus');
    await page.getByLabel('Send to').selectOption('HTTPS server');
    await page.getByLabel('URL of your server').fill(`${scene.good.url}/moved`);
    await save(page);
    equal([(await stored()).url, (await stored()).destination], [`${scene.good.url}/moved`, undefined], 'a server');
    await page.getByLabel('Send to').selectOption('SQS queue');
    await page.getByLabel('ARN of the queue or bus').fill(QUEUE);
    await page.getByLabel('ARN of the role').fill(ROLE);
    await save(page);
    equal((await stored()).destination.queueArn, QUEUE, 'a queue again');

    await go(page, delivery(scene.queue, 'queued-1'));
    const dialog = page.getByRole('dialog');
    contains(await dialog.locator('.sentence').first().textContent(), 'Given up', 'the fate');
    await dialog.getByText('Attempt 1').waitFor();
    equal(await dialog.getByRole('button', { name: 'Copy as curl' }).count(), 0, 'a command for HTTPS');
    await go(page, tab(scene.queue, 'security'));
    await settled(page);
    page.notes.complaints = page.notes.complaints.filter((one) => !one.includes('status of 400'));
    return page;
  },

  async 'an erased event is shown as erased, and cannot be sent again'(scene, browser) {
    const page = await enter(scene, browser, { query: `?endpoint=${scene.erased.id}&status=erased` });
    await page.getByRole('button', { name: 'erased-1' }).waitFor();
    equal(await page.getByRole('checkbox', { name: /Choose/ }).count(), 0, 'boxes');
    await page.getByRole('button', { name: 'Send many again' }).click();
    const dialog = page.getByRole('dialog');
    equal(await dialog.getByLabel('State').inputValue(), 'exhausted', 'a state that can be sent again');
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'erased-1' }).click();
    await dialog.getByText('Erased by the sender. Nothing more is sent.').waitFor();
    equal(await dialog.locator('.fault').count(), 0, 'errors');
    equal(await dialog.getByRole('button').allTextContents(), ['Close'], 'buttons');
    equal((await dialog.textContent()).includes('John Smith'), false, 'the payload');
    page.notes.complaints = page.notes.complaints.filter((one) => !one.includes('status of 410'));
    return page;
  },

  async 'a test event is sent and watched until it arrives'(scene, browser) {
    const page = await enter(scene, browser, { query: tab(scene.plain, 'test') });
    await page.getByRole('button', { name: 'Send it' }).click();
    await page.getByRole('dialog').getByText('Delivered by attempt 1: your server answered 204.').waitFor();
    page.notes.complaints = page.notes.complaints.filter((one) => !one.includes('status of 404')); // Before its fan-out.
    return page;
  },

  async 'a new secret is shown once, and verifies'(scene, browser) {
    const endpoint = await createEndpoint(scene.tenant, { url: `${scene.good.url}/rotated`, signatures: ['standard-webhooks'], types: [{ type: 'rotated' }] });
    const page = await enter(scene, browser, { query: tab(endpoint, 'security') });
    const place = page.getByRole('region', { name: 'Signing secret' });
    await place.getByRole('button', { name: 'Make a new secret' }).click();
    const secret = await place.getByText(/^whsec_/).textContent();
    contains(await place.textContent(), 'The old one ends at', 'the overlap');
    await sendEvents(scene.tenant, 'rotated', ['rotated-1']);
    const request = await scene.good.request('rotated-1');
    const verification = page.getByRole('region', { name: 'Verify a request here' });
    for (const one of [secret, endpoint.signingSecret]) {
      equal((await verify(verification, message(request), one)).said, ['✓ webhook-signature: valid'], 'by the new secret, and by the old one');
    }
    await go(page, tab(endpoint, 'security'));
    await place.getByRole('table').waitFor();
    equal(await page.getByText(secret).count(), 0, 'the secret after a reload');
    return page;
  },

  async 'an endpoint is added, disabled, enabled and removed'(scene, browser) {
    const page = await enter(scene, browser);
    await page.getByText('Add an endpoint').click();
    await page.getByLabel('URL of your server').fill(`${scene.good.url}/added`);
    await page.getByRole('button', { name: 'Add', exact: true }).click();
    await page.getByText(/^whsec_/).waitFor();
    await page.getByRole('link', { name: 'Settings' }).click();
    await page.getByLabel('Waits between attempts').fill('5, 60, 86000');
    contains(await page.getByText('An event that arrives').textContent(), '12:00:00, 12:00:05, 12:01:05, 11:54:25 on day 2', 'retries as clock times');
    await page.getByLabel('Waits between attempts').fill('5, 60');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Saved.').waitFor();
    await page.getByRole('button', { name: 'Disable' }).click();
    await page.getByText('Disabled: somebody disabled it').waitFor();
    await page.getByRole('button', { name: 'Enable' }).click();
    await page.getByText('Nothing is wrong now').waitFor();
    equal(await page.getByLabel('Waits between attempts').inputValue(), '5, 60', 'the setting that was saved');
    await page.getByRole('button', { name: 'Remove', exact: true }).click();
    await page.getByRole('button', { name: 'Remove it, and give up what waits' }).click();
    await page.getByText(/^\d+ endpoints$/).waitFor();
    equal(await page.getByText(`${scene.good.url}/added`).count(), 0, 'the endpoint after its removal');
    return page;
  },

  async 'a session that may only look has nothing else to press'(scene, browser) {
    const page = await enter(scene, browser, { can: ['view'], query: tab(scene.plain, 'settings') });
    await page.getByLabel('URL of your server').waitFor();
    equal(await page.getByLabel('URL of your server').isDisabled(), true, 'the settings');
    equal(await page.getByRole('button', { name: /Save|Disable|Remove/ }).count(), 0, 'buttons of settings');
    await page.getByText('Try the filter').click(); // It changes nothing.
    await page.getByLabel('Event', { exact: true }).waitFor();
    await go(page, tab(scene.plain, 'test'));
    await page.getByText('does not let you send tests').waitFor();
    await go(page, tab(scene.plain, 'security'));
    await page.getByText('does not let you replace it').waitFor();
    await go(page, tab(scene.plain, 'deliveries'));
    await page.getByText('Newest first').waitFor();
    equal(await page.getByRole('button', { name: /Send/ }).count(), 0, 'buttons of deliveries');
    return page;
  },

  async 'the page says what to do without scripts, and when the session has ended'(scene, browser) {
    const without = await newPage(browser, { javaScriptEnabled: false });
    await without.goto(`${API_URL}/portal/`);
    contains(await without.getByRole('main').textContent(), 'This page needs JavaScript', 'the page without scripts');
    await without.done();
    const page = await enter(scene, browser, { can: ['view'] });
    await page.getByRole('button', { name: 'End it now' }).click();
    await page.getByText('This link has ended').waitFor();
    await checkAccess(page, 'the end');
    await screenshot(page, 'ended');
    equal(await page.evaluate(() => sessionStorage.length), 0, 'what is kept');
    await page.reload();
    await page.getByText('opens by a link').waitFor();
    return page;
  },

  async 'the picture of the documents shows deliveries'(scene, browser) {
    const page = await enter(scene, browser, { viewport: { width: 1100, height: 760 } });
    await go(page, delivery(scene.broken, 'broken-2'));
    await page.getByText('Attempt 2').waitFor();
    await screenshot(page, 'documents');
    return page;
  },
};

/** How programs call an example: they read a request from their input. */
const CALLS = {
  py: 'import json, sys\ntask = json.load(sys.stdin)\nverify(task["headers"], bytes.fromhex(task["body"]))',
  mjs: 'const task = JSON.parse((await import("node:fs")).readFileSync(0));\nawait verify(task.headers, Buffer.from(task.body, "hex"));',
};

/** Runs an example, beside the libraries of infra/local/verify. */
function runExample(program, extension, code, headers, body, secret) {
  const folder = mkdtempSync(fileURLToPath(new URL('../local/verify/example-', import.meta.url)));
  try {
    const file = `${folder}/example.${extension}`;
    writeFileSync(file, `${code}\n${CALLS[extension]}\n`);
    const input = `${JSON.stringify({ headers, body: body.toString('hex') })}\n`;
    const { status, stderr } = spawnSync(program, [file], { input, encoding: 'utf8', timeout: 30_000, env: { ...process.env, WEBHOOK_SECRET: secret } });
    if (/ModuleNotFound|ERR_MODULE|SyntaxError/.test(stderr)) fail(stderr);
    return status === 0 ? 'verified' : 'refused';
  } finally {
    rmSync(folder, { recursive: true });
  }
}

// ---- Running them ----

/** Runs a test within its time, and prints how it went. Complaints of the browser fail it too. */
async function run(name, test, scene, browser) {
  const began = Date.now();
  let timer;
  const limit = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`not within ${ONE_SECONDS} s`)), ONE_SECONDS * 1_000); });
  try {
    const page = await Promise.race([test(scene, browser), limit]);
    equal(page.notes.complaints, [], 'complaints of the browser');
    await page.done();
    console.log(`✓ ${name} (${((Date.now() - began) / 1_000).toFixed(1)} s)`);
    return true;
  } catch (error) {
    console.log(`✗ ${name}\n${error.stack}`);
    await Promise.all(browser.contexts().flatMap((one) => one.pages()).map((page, at) => screenshot(page, `failed-${name.slice(0, 40)}-${at}`, { timeout: 3_000 }).catch(() => {})));
    return false;
  } finally {
    clearTimeout(timer);
  }
}

async function main(part = '') {
  setTimeout(() => { console.log(`✗ the tests did not end within ${ALL_SECONDS} s`); process.exit(1); }, ALL_SECONDS * 1_000).unref();
  const [browser, scene] = await Promise.all([launch(), makeScene()]);
  const waiting = Object.entries(TESTS).filter(([name]) => name.includes(part));
  let failures = waiting.length ? 0 : 1;
  const work = async () => {
    while (waiting.length) {
      const [name, test] = waiting.shift();
      if (!await run(name, test, scene, browser)) failures += 1;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  await browser.close();
  [scene.good, scene.bad].forEach((one) => one.stop());
  process.exitCode = failures ? 1 : 0;
}

await main(process.argv[2]);
