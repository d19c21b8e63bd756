using System.Security.Cryptography;
using System.Text;

static class Webhooks
{
    // The signing secret (whsec_…) of endpoint ENDPOINT_ID.
    static readonly byte[] Secret = Convert.FromBase64String(Environment.GetEnvironmentVariable("WEBHOOK_SECRET")!.Replace("whsec_", ""));

    /// <summary>Whether it verifies. The headers have names in lower case, the body the bytes that arrived.</summary>
    public static bool Verify(IReadOnlyDictionary<string, string> headers, byte[] body)
    {
        var timestamp = headers["webhook-timestamp"];
        if (Math.Abs(DateTimeOffset.UtcNow.ToUnixTimeSeconds() - long.Parse(timestamp)) > 300) return false;
        var start = Encoding.UTF8.GetBytes($"{headers["webhook-id"]}.{timestamp}.");
        var expected = "v1," + Convert.ToBase64String(HMACSHA256.HashData(Secret, [.. start, .. body]));
        return headers["webhook-signature"].Split(' ').Any(entry =>
            CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(expected), Encoding.UTF8.GetBytes(entry)));
    }
}
