// Receives webhooks with ASP.NET Core: `dotnet new web`, then replace Program.cs by this file. Verifies JWS with RS256 and ES256,
// and `v1` of Standard Webhooks. .NET has no Ed25519: register the endpoint without `"jwsAlgorithm":"EdDSA"`.

using System.Buffers.Text;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

var settings = Environment.GetEnvironmentVariables();
var receiver = new Receiver(
    new Keys((string)settings["JWKS_URL"]!), // The endpoint's `jwksUrl`.
    (string)settings["ENDPOINT_URL"]!, (string?)settings["SECRET"], (string?)settings["ALGORITHM"]);
var app = WebApplication.CreateBuilder(args).Build();
app.Map("/in", async (HttpRequest request, ILogger<Receiver> log) =>
{
    using var body = new MemoryStream();
    await request.Body.CopyToAsync(body); // The bytes as they arrived: no [FromBody], and no middleware that reads them.
    try
    {
        await receiver.Verify(request, body.ToArray());
    }
    catch (RefusedException error)
    {
        log.LogWarning("refused: {Reason}", error.Message);
        return Results.StatusCode(401);
    }
    catch (Exception error) when (error is HttpRequestException or TaskCanceledException or JsonException)
    {
        log.LogError(error, "the keys could not be fetched");
        return Results.StatusCode(503);
    }
    log.LogInformation("event {Id}", request.Headers["webhook-id"]); // Your work, in one transaction with the id.
    return Results.NoContent();
});
app.Run("http://127.0.0.1:" + (settings["PORT"] ?? "3000"));

class RefusedException(string message) : Exception(message);

record Key(string Kid, string? Endpoint, string? Alg, string? N, string? E, string? X, string? Y);

// A tenant's keys. All requests share one copy, and one of them fetches at a time, at most every two seconds.
class Keys(string url)
{
    record Set(Key[] Keys);

    static readonly JsonSerializerOptions Names = new(JsonSerializerDefaults.Web);
    readonly HttpClient client = new(new HttpClientHandler { AllowAutoRedirect = false }) { Timeout = TimeSpan.FromSeconds(3) };
    readonly SemaphoreSlim gate = new(1);
    Key[]? keys;
    DateTime fetched, expires;

    public async Task<Key> Find(string? kid)
    {
        await gate.WaitAsync();
        try
        {
            var now = DateTime.UtcNow;
            if ((Named(kid) is null || now >= expires) && now - fetched >= TimeSpan.FromSeconds(2))
            {
                fetched = now;
                using var answer = await client.GetAsync(url);
                answer.EnsureSuccessStatusCode();
                CacheControlHeaderValue? cache = answer.Headers.CacheControl;
                keys = (await answer.Content.ReadFromJsonAsync<Set>(Names))!.Keys;
                expires = now + (cache?.MaxAge ?? TimeSpan.FromMinutes(5));
            }
            if (keys is null) throw new HttpRequestException("no keys");
            return Named(kid) ?? throw new RefusedException("no key has the `kid`");
        }
        finally
        {
            gate.Release();
        }
    }

    // A key with an endpoint signs `v1a` only.
    Key? Named(string? kid) => keys?.FirstOrDefault(key => key.Kid == kid && key.Endpoint is null);
}

class Receiver(Keys keys, string url, string? secret, string? algorithm)
{
    public async Task Verify(HttpRequest request, byte[] body)
    {
        string query = (request.QueryString.Value ?? "").TrimStart('?'), own = new Uri(url).Query.TrimStart('?');
        if (own != "" && (query == own || query.StartsWith(own + "&"))) query = query[own.Length..].TrimStart('&');
        var payload = HttpMethods.IsGet(request.Method) ? Encoding.UTF8.GetBytes(query) : body;
        string jws = request.Headers["jws-signature"].ToString(), entries = request.Headers["webhook-signature"].ToString();
        if (jws == "" && (entries == "" || secret is null)) throw new RefusedException("no signature to verify");
        if (jws != "") await VerifyJws(jws, payload);
        if (entries != "" && secret is not null) VerifyStandardWebhook(request.Headers, entries, payload);
    }

    async Task VerifyJws(string text, byte[] payload)
    {
        if (text.Split('.') is not [var encoded, "", var signatureText]) throw new RefusedException("not a detached JWS");
        JsonElement header;
        byte[] signature;
        try
        {
            header = JsonDocument.Parse(Base64Url.DecodeFromChars(encoded)).RootElement;
            signature = Base64Url.DecodeFromChars(signatureText);
        }
        catch (Exception error) when (error is FormatException or JsonException)
        {
            throw new RefusedException("`jws-signature` is not base64url");
        }
        string? Text(string name) => header.TryGetProperty(name, out var value) ? value.GetString() : null;
        if (header.TryGetProperty("crit", out _)) throw new RefusedException("the JWS has `crit`");
        var key = await keys.Find(Text("kid"));
        if (Text("alg") != key.Alg || (algorithm is not null && key.Alg != algorithm)) throw new RefusedException("another `alg`");
        var signed = Encoding.ASCII.GetBytes(encoded + "." + Base64Url.EncodeToString(payload));
        if (!Fits(key, signed, signature)) throw new RefusedException("the JWS does not fit the payload");
    }

    void VerifyStandardWebhook(IHeaderDictionary headers, string entries, byte[] payload)
    {
        string id = headers["webhook-id"].ToString(), timestamp = headers["webhook-timestamp"].ToString();
        if (id == "" || !long.TryParse(timestamp, out var seconds)) throw new RefusedException("headers are missing");
        if (Math.Abs(DateTimeOffset.UtcNow.ToUnixTimeSeconds() - seconds) > 300) throw new RefusedException("too old");
        var mac = HMACSHA256.HashData(
            Convert.FromBase64String(secret!.Replace("whsec_", "")), [.. Encoding.UTF8.GetBytes($"{id}.{timestamp}."), .. payload]);
        var expected = Encoding.ASCII.GetBytes("v1," + Convert.ToBase64String(mac));
        if (!entries.Split(' ').Any(entry => CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(entry), expected)))
            throw new RefusedException("no `v1` fits the payload");
    }

    static bool Fits(Key key, byte[] signed, byte[] signature)
    {
        static byte[] Bytes(string? text) => Base64Url.DecodeFromChars(text);
        switch (key.Alg)
        {
            case "RS256":
                using (var rsa = RSA.Create(new RSAParameters { Modulus = Bytes(key.N), Exponent = Bytes(key.E) }))
                    return rsa.VerifyData(signed, signature, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
            case "ES256":
                var point = new ECPoint { X = Bytes(key.X), Y = Bytes(key.Y) };
                using (var ec = ECDsa.Create(new ECParameters { Curve = ECCurve.NamedCurves.nistP256, Q = point }))
                    return ec.VerifyData(signed, signature, HashAlgorithmName.SHA256);
            default:
                return false;
        }
    }
}
