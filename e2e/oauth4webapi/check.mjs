// Reads the line that `writ dev --json` prints from standard input, and plays an
// agent and a resource server against that broker with oauth4webapi alone.
import assert from 'node:assert/strict'
import { webcrypto } from 'node:crypto'
import { text } from 'node:stream/consumers'
import * as oauth from 'oauth4webapi'

// Before version 20, Node.js keeps it to itself.
globalThis.crypto ??= webcrypto

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const JWT = 'urn:ietf:params:oauth:token-type:jwt'
const JWT_BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

const dev = JSON.parse(await text(process.stdin))
const { agent, sub_agent: subAgent, user, resource_server: server } = dev.samples
// The development broker listens on loopback without TLS.
const options = { [oauth.allowInsecureRequests]: true }

// An agent's credential as a client is the workload token that it already has.
const assertion = (sample) => (as, client, body) => {
  body.set('client_id', client.client_id)
  body.set('client_assertion_type', JWT_BEARER)
  body.set('client_assertion', sample.token)
}
const bearer = (token) => (as, client, body, headers) => headers.set('authorization', `Bearer ${token}`)
const clientOf = (sample) => ({ client_id: sample.id })

async function step(name, run) {
  const started = performance.now()
  const result = await run()
  console.log(`ok  ${name}  ${(performance.now() - started).toFixed(1)} ms`)
  return result
}

async function exchange(sample, parameters) {
  const client = clientOf(sample)
  const response = await oauth.genericTokenEndpointRequest(
    as, client, oauth.None(), EXCHANGE,
    { subject_token: sample.token, subject_token_type: JWT, ...parameters }, options)
  assert.match(response.headers.get('cache-control') ?? '', /no-store/)
  return oauth.processGenericTokenEndpointResponse(as, client, response)
}

const validate = (token, audience) => oauth.validateJwtAccessToken(
  as,
  new Request('https://resource.example.com/', { headers: { authorization: `Bearer ${token}` } }),
  audience, options)

async function introspect(token) {
  const client = clientOf(server)
  const response = await oauth.introspectionRequest(as, client, bearer(reader), token, options)
  return oauth.processIntrospectionResponse(as, client, response)
}

async function refused(promise, code) {
  const error = await promise.then(() => assert.fail('was not refused'), (e) => e)
  assert.equal(error.constructor.name, 'ResponseBodyError', error.stack)
  assert.equal(error.status, 400)
  assert.equal(error.error, code)
  return error
}

const issuer = new URL(dev.issuer)
const as = await step('discovery (RFC 8414)', async () => {
  const found = await oauth.discoveryRequest(issuer, { ...options, algorithm: 'oauth2' })
  return oauth.processDiscoveryResponse(issuer, found)
})
assert.equal(as.issuer, dev.issuer)
assert.ok(as.grant_types_supported.includes(EXCHANGE))

await step('discovery (OpenID)', async () => {
  const found = await oauth.discoveryRequest(issuer, { ...options, algorithm: 'oidc' })
  const oidc = await oauth.processDiscoveryResponse(issuer, found)
  assert.equal(oidc.jwks_uri, as.jwks_uri)
})

const own = await step('an agent exchanges its workload token (RFC 8693)', () =>
  exchange(agent, { scope: agent.scope }))
assert.equal(own.issued_token_type, ACCESS_TOKEN)
assert.equal(own.token_type, 'bearer')
assert.ok(own.expires_in > 0 && own.expires_in <= 3600)

const claims = await step('the token validates (RFC 9068)', () => validate(own.access_token, agent.audience))
assert.equal(claims.sub, agent.id)
assert.equal(claims.client_id, agent.id)
assert.equal(claims.scope, agent.scope)

await step('it does not validate for another audience', () =>
  assert.rejects(validate(own.access_token, 'https://elsewhere.example.com')))

await step('a scope that policy refuses is invalid_scope', async () => {
  const error = await refused(exchange(agent, { scope: agent.refused_scope }), 'invalid_scope')
  assert.ok(error.cause.decision_id, 'the refusal names its decision')
})

await step('an unknown target is invalid_target', () =>
  refused(exchange(agent, { scope: agent.scope, audience: 'https://elsewhere.example.com' }), 'invalid_target'))

await step('a damaged subject token is invalid_request', () =>
  refused(exchange({ ...agent, token: agent.token.slice(0, -8) + 'AAAAAAAA' }, { scope: agent.scope }), 'invalid_request'))

const delegated = await step('the agent acts for a user', () =>
  exchange(user, {
    subject_token_type: user.token_type ?? JWT,
    actor_token: agent.token, actor_token_type: JWT, scope: agent.scope,
  }))
await step('and the token says so', async () => {
  const claims = await validate(delegated.access_token, agent.audience)
  assert.equal(claims.sub, user.id)
  assert.equal(claims.act.sub, agent.id)
})

const child = await step('a sub-agent gets a narrower token from it', () =>
  exchange(subAgent, {
    subject_token: delegated.access_token, subject_token_type: ACCESS_TOKEN,
    actor_token: subAgent.token, actor_token_type: JWT, scope: subAgent.scope,
  }))
await step('whose chain is complete', async () => {
  const claims = await validate(child.access_token, subAgent.audience)
  const parent = await validate(delegated.access_token, agent.audience)
  assert.equal(claims.act.sub, subAgent.id)
  assert.equal(claims.act.act.sub, agent.id)
  assert.ok(claims.exp <= parent.exp)
})

await step('client_credentials with a client assertion', async () => {
  const client = clientOf(agent)
  const response = await oauth.clientCredentialsGrantRequest(
    as, client, assertion(agent), { scope: agent.scope }, options)
  const token = await oauth.processClientCredentialsResponse(as, client, response)
  assert.equal((await validate(token.access_token, agent.audience)).sub, agent.id)
})

const { access_token: reader } = await step('a resource server gets its own token', () =>
  exchange(server, { scope: server.scope }))

await step('introspection says active (RFC 7662)', async () => {
  const answer = await introspect(child.access_token)
  assert.equal(answer.active, true)
  assert.equal(answer.sub, user.id)
  assert.equal(answer.act.sub, subAgent.id)
  assert.equal(answer.scope, subAgent.scope)
})

await step('introspection without authorization is refused', async () => {
  const response = await oauth.introspectionRequest(as, clientOf(server), oauth.None(), child.access_token, options)
  assert.equal(response.status, 401)
})

await step('the agent revokes the parent (RFC 7009)', async () => {
  const response = await oauth.revocationRequest(
    as, clientOf(agent), assertion(agent), delegated.access_token, options)
  await oauth.processRevocationResponse(response)
})

for (const [name, token] of [['the parent', delegated], ['the child', child]]) {
  await step(`${name} is inactive now`, async () =>
    assert.deepEqual(await introspect(token.access_token), { active: false }))
}
await step('the first token still is active', async () =>
  assert.equal((await introspect(own.access_token)).active, true))

await step('no new token comes from the revoked one', () =>
  refused(exchange(subAgent, {
    subject_token: delegated.access_token, subject_token_type: ACCESS_TOKEN,
    actor_token: subAgent.token, actor_token_type: JWT, scope: subAgent.scope,
  }), 'invalid_request'))

await step('revoking what is no token succeeds', async () =>
  oauth.processRevocationResponse(await oauth.revocationRequest(
    as, clientOf(agent), assertion(agent), 'not-a-token', options)))
